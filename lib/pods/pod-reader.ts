import { pooledMap } from '../base/async.ts';
import { errorLine } from '../base/sanitize.ts';
import type { CallOptions, CriClient, ListedSandbox } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Host } from '../host/host.ts';
import { isOfSandbox, readProcess } from '../host/process.ts';
import { isBelow, isProbe } from '../proof/sandbox.ts';
import { isDoubtful, judgeSandbox, type Pod } from './pod.ts';

const CONCURRENCY = 8;

/** Facts about a gVisor pod's sentry. */
export type PodSentry = {
  /** Of its program's code. */
  readonly textPages: number;
  /** gVisor's settings file at its start; "" without one. */
  readonly configPath: string;
};

type Examined = { readonly pod?: Pod; readonly sentry?: PodSentry; readonly final: boolean };

/** A sandbox's runtime never changes, so each is examined once and later reads cost one list request. */
export class PodReader {
  readonly #client: CriClient;
  readonly #host: Host;
  #cache = new Map<string, Examined>();

  constructor(client: CriClient, host: Host) {
    this.#client = client;
    this.#host = host;
  }

  /** By sandbox, as of the last read. */
  get sentries(): ReadonlyMap<string, PodSentry> {
    return new Map(
      [...this.#cache].flatMap(([id, { sentry }]) => (sentry === undefined ? [] : [[id, sentry]])),
    );
  }

  /** Without probes; a pod that could not be examined is unknown. Rejects if containerd does not list them. */
  async read(signal: AbortSignal): Promise<readonly Pod[]> {
    const items = await this.#client.listSandboxes('SANDBOX_READY', { signal });
    const pods = items.filter((sandbox) => sandbox.metadata !== null && !isProbe(sandbox));
    const cache = new Map<string, Examined>();
    const found = await pooledMap(pods, CONCURRENCY, async (listed) => {
      const examined = this.#cache.get(listed.id) ?? (await this.#examine(listed, { signal }));
      if (examined.pod !== undefined && examined.final) cache.set(listed.id, examined);
      return examined.pod ?? [];
    });
    this.#cache = cache;
    return found.flat();
  }

  /** `final` if its process was read; no pod if it has ended meanwhile. */
  async #examine({ id, metadata, runtimeHandler }: ListedSandbox, options: CallOptions): Promise<Examined> {
    const { namespace = '', name = '', uid = '' } = metadata ?? {};
    const pod = { namespace, name, uid, handler: runtimeHandler };
    try {
      const info = await this.#client.sandbox(id, options);
      const { pid, runtimeType, cgroupParent, configPath, annotations } = info;
      const found = pid === undefined ? undefined : await readProcess(this.#host, pid).catch(() => undefined);
      // If the process has ended, another may have its PID.
      const process = found !== undefined && isOfSandbox(found, id) ? found : undefined;
      const facts = { runtimeType, pid, argv: process?.argv, annotations };
      const runtimePids = isDoubtful(facts) ? await this.#client.listPids(id, options) : [];
      const judged = { ...pod, ...judgeSandbox({ ...facts, runtimePids }) };
      const final = (process?.argv[0] ?? '') !== '';
      if (judged.sandboxed !== true || process === undefined) return { pod: judged, final };
      const sentry = { textPages: process.textPages, configPath };
      if (cgroupParent === '') return { pod: judged, sentry, final };
      return { pod: { ...judged, limited: isBelow(process.cgroups, cgroupParent) }, sentry, final };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (error instanceof CriError && error.kind === 'absent') return { final: false };
      return { pod: { ...pod, evidence: errorLine(error) }, final: false };
    }
  }
}
