import { pooledMap } from '../base/async.ts';
import { errorLine } from '../base/sanitize.ts';
import type { CallOptions, CriClient, ListedSandbox } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Host } from '../host/host.ts';
import { isOfSandbox, readProcess } from '../host/process.ts';
import { isBelow, isProbe } from '../proof/sandbox.ts';
import { flagsInForce, sentryFlags, shorten } from '../runsc/flags.ts';
import { isDoubtful, judgeSandbox, type Pod } from './pod.ts';

const CONCURRENCY = 8;

/** Facts about a gVisor pod's sentry. */
export type PodSentry = {
  /** Of its program's code. */
  readonly textPages: number;
  /** gVisor's settings file at its start; "" without one. */
  readonly configPath: string;
  readonly flags: Readonly<Record<string, string>>;
};

/** A pod's sandbox that runs, and what was seen of it: the same object until it is examined again. */
export type SeenSandbox = {
  readonly id: string;
  /** Nanoseconds since 1970. */
  readonly createdAt: number;
  readonly pod: Pod;
  /** As containerd started it; "" if containerd did not say. */
  readonly runtimeType: string;
  /** Its first; absent if it could not be read. */
  readonly process?: { readonly pid: number; readonly program: string };
  readonly sentry?: PodSentry;
};

type Examined = { readonly seen?: SeenSandbox; readonly final: boolean };

/** A sandbox's runtime never changes, so each is examined once and later reads cost one list request. */
export class PodReader {
  readonly #client: CriClient;
  readonly #host: Host;
  #cache = new Map<string, Examined>();
  #sandboxes: readonly SeenSandbox[] = [];

  constructor(client: CriClient, host: Host) {
    this.#client = client;
    this.#host = host;
  }

  /** By sandbox, as of the last read. */
  get sentries(): ReadonlyMap<string, PodSentry> {
    return new Map(this.#sandboxes.flatMap(({ id, sentry }) => (sentry === undefined ? [] : [[id, sentry]])));
  }

  /** As of the last read, and the same array until the next. */
  get sandboxes(): readonly SeenSandbox[] {
    return this.#sandboxes;
  }

  /** Without probes; a pod that could not be examined is unknown. Rejects if containerd does not list them. */
  async read(signal: AbortSignal): Promise<readonly Pod[]> {
    const items = await this.#client.listSandboxes('SANDBOX_READY', { signal });
    const pods = items.filter((sandbox) => sandbox.metadata !== null && !isProbe(sandbox));
    const cache = new Map<string, Examined>();
    const found = await pooledMap(pods, CONCURRENCY, async (listed) => {
      const examined = this.#cache.get(listed.id) ?? (await this.#examine(listed, { signal }));
      if (examined.seen !== undefined && examined.final) cache.set(listed.id, examined);
      return examined.seen ?? [];
    });
    this.#cache = cache;
    this.#sandboxes = found.flat();
    return this.#sandboxes.map(({ pod }) => pod);
  }

  /** `final` if its process was read; not seen if it has ended meanwhile. */
  async #examine(listed: ListedSandbox, options: CallOptions): Promise<Examined> {
    const { id, createdAt, metadata, runtimeHandler } = listed;
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
      const seen = { id, createdAt, pod: judged, runtimeType };
      const [program = ''] = process?.argv ?? [];
      if (process === undefined || pid === undefined || program === '') return { seen, final: false };
      const read = { ...seen, process: { pid, program: shorten(program) } };
      if (judged.sandboxed !== true) return { seen: read, final: true };
      const { argv, cgroups, textPages } = process;
      const sentry = { textPages, configPath, flags: flagsInForce(sentryFlags(argv) ?? new Map()) };
      const limited = cgroupParent === '' ? {} : { limited: isBelow(cgroups, cgroupParent) };
      return { seen: { ...read, sentry, pod: { ...judged, ...limited } }, final: true };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (error instanceof CriError && error.kind === 'absent') return { final: false };
      const unseen = { ...pod, evidence: errorLine(error) };
      return { seen: { id, createdAt, pod: unseen, runtimeType: '' }, final: false };
    }
  }
}
