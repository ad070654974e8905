import { pooledMap } from '../async.ts';
import type { CallOptions, CriClient, ListedSandbox } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Host } from '../host/host.ts';
import { isOfSandbox, readProcess } from '../host/process.ts';
import { isBelow, isProbe } from '../proof/sandbox.ts';
import { errorLine } from '../sanitize.ts';
import { isDoubtful, judgeSandbox, type Pod } from './pod.ts';

/** How many sandboxes are asked about at a time. */
const AT_ONCE = 8;

/**
 * Reads which pods run on this node and in what. A sandbox is looked into once: what it is does not change
 * while it lives, so that reading again costs one question.
 */
export class PodReader {
  readonly #client: CriClient;
  readonly #host: Host;
  #known = new Map<string, Pod>();

  constructor(client: CriClient, host: Host) {
    this.#client = client;
    this.#host = host;
  }

  /**
   * The running pods of the kubelet; probes are none. One that could not be looked into is not known to be sandboxed,
   * and hides no other. Rejects when containerd does not list them.
   */
  async read(signal: AbortSignal): Promise<readonly Pod[]> {
    const items = await this.#client.listSandboxes('SANDBOX_READY', { signal });
    const pods = items.filter((sandbox) => sandbox.metadata !== null && !isProbe(sandbox));
    const known = new Map<string, Pod>();
    const found = await pooledMap(pods, AT_ONCE, async (listed) => {
      const earlier = this.#known.get(listed.id);
      const { pod, seen } = earlier ? { pod: earlier, seen: true } : await this.#ask(listed, { signal });
      // Without a look at its process it is a guess, and is asked again.
      if (pod !== undefined && seen) known.set(listed.id, pod);
      return pod ?? [];
    });
    this.#known = known;
    return found.flat();
  }

  /** What a sandbox is, and whether its process was seen; no pod where it has ended meanwhile. */
  async #ask(
    { id, metadata, runtimeHandler }: ListedSandbox,
    options: CallOptions,
  ): Promise<{ readonly pod?: Pod; readonly seen: boolean }> {
    const { namespace = '', name = '', uid = '' } = metadata ?? {};
    const pod = { namespace, name, uid, handler: runtimeHandler };
    try {
      const { pid, runtimeType, cgroupParent, annotations } = await this.#client.sandbox(id, options);
      const found = pid === undefined ? undefined : await readProcess(this.#host, pid).catch(() => undefined);
      // Where its process has ended, another may have its PID.
      const process = found !== undefined && isOfSandbox(found, id) ? found : undefined;
      const facts = { runtimeType, pid, argv: process?.argv, annotations };
      const runtimePids = isDoubtful(facts) ? await this.#client.listPids(id, options) : [];
      const judged = { ...pod, ...judgeSandbox({ ...facts, runtimePids }) };
      const seen = (process?.argv[0] ?? '') !== '';
      if (judged.sandboxed !== true || process === undefined || cgroupParent === '')
        return { pod: judged, seen };
      return { pod: { ...judged, limited: isBelow(process.cgroups, cgroupParent) }, seen };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (error instanceof CriError && error.kind === 'absent') return { seen: false };
      return { pod: { ...pod, evidence: errorLine(error) }, seen: false };
    }
  }
}
