import { posix } from 'node:path';
import { pooledMap } from '../base/async.ts';
import type { ShimAddress } from '../containerd/shim-calls.ts';
import type { Host } from '../host/host.ts';

export type Bundle = {
  readonly id: string;
  /** With which a restarted containerd loads the shim; absent if not recorded. */
  readonly program?: string | undefined;
  /** Absent if not recorded, or no Unix socket of ttrpc. */
  readonly address?: ShimAddress | undefined;
  /** As gVisor's shim records it. */
  readonly shimPid?: number | undefined;
};

/** A bundle is filled after it was created. */
const MAX_READS = 4;
const CONCURRENCY = 4;
const MAX_BYTES = 16 * 1024;
const FILES = ['shim-binary-path', 'bootstrap.json', 'address', 'shim.pid'] as const;

/**
 * Reads each bundle once. Sources: https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/binary.go
 * (shim-binary-path), https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/shim.go (address),
 * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/shim_manager.go (bootstrap.json), and
 * https://github.com/google/gvisor/blob/release-20260223.0/pkg/shim/v1/service.go (shim.pid)
 */
export class Bundles {
  readonly #host: Host;
  readonly #directory: string;
  #known = new Map<string, { readonly bundle: Bundle; readonly reads: number }>();

  constructor(host: Host, directory: string) {
    this.#host = host;
    this.#directory = directory;
  }

  /** Undefined without the directory; rejects if it cannot be read. */
  async read(signal: AbortSignal): Promise<readonly Bundle[] | undefined> {
    const ids = await this.#host.list(this.#directory);
    if (ids === undefined) return undefined;
    const known = new Map<string, { readonly bundle: Bundle; readonly reads: number }>();
    await pooledMap(ids, CONCURRENCY, async (id) => {
      signal.throwIfAborted();
      const before = this.#known.get(id);
      const reads = before?.reads ?? 0;
      const isWhole = before?.bundle.address !== undefined && before.bundle.program !== undefined;
      known.set(
        id,
        before !== undefined && (isWhole || reads >= MAX_READS)
          ? before
          : { bundle: await this.#readBundle(id), reads: reads + 1 },
      );
    });
    this.#known = known;
    return [...known.values()].map(({ bundle }) => bundle);
  }

  async #readBundle(id: string): Promise<Bundle> {
    const files = await this.#host
      .readTexts(posix.join(this.#directory, id), FILES, MAX_BYTES)
      .catch(() => undefined);
    const program = files?.['shim-binary-path']?.trim();
    const address = files?.['bootstrap.json'] ?? files?.address;
    const shimPid = Number(files?.['shim.pid']);
    return {
      id,
      ...(program?.startsWith('/') ? { program } : {}),
      address: address === undefined ? undefined : parseShimAddress(address.trim(), id),
      shimPid: shimPid > 0 ? shimPid : undefined,
    };
  }
}

/** A URL, or JSON with protocol and version. */
function parseShimAddress(text: string, id: string): ShimAddress | undefined {
  let parsed: { readonly address?: unknown; readonly protocol?: unknown; readonly version?: unknown } = {};
  try {
    const json: unknown = text.startsWith('{') ? JSON.parse(text) : {};
    if (typeof json === 'object' && json !== null) parsed = json;
  } catch {}
  const { address = text, protocol = 'ttrpc', version = 2 } = parsed;
  const [, socket] = /^(?:unix:\/\/)?(\/[^\0\n]+)$/.exec(typeof address === 'string' ? address : '') ?? [];
  return socket === undefined || protocol !== 'ttrpc' ? undefined : { socket, version: Number(version), id };
}
