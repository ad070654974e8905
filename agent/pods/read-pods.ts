import { mapAtOnce } from '../at-once.ts';
import type { CriClient, ListedSandbox } from '../cri/client.ts';
import type { CallOptions } from '../cri/connection.ts';
import { CriError } from '../cri/error.ts';
import { errorLine } from '../host/error-line.ts';
import type { Host } from '../host/host.ts';
import { readProcess } from '../host/process.ts';
import { isBelow } from '../proof/place.ts';
import { POD_UID } from '../proof/sandbox-config.ts';
import { judgeSandbox, type Pod } from './pod.ts';

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
    const items = await this.#client.listSandboxes({ state: 'SANDBOX_READY' }, { signal });
    const pods = items.filter(({ labels, metadata }) => metadata !== null && POD_UID in labels);
    const found = await mapAtOnce(pods, AT_ONCE, async (listed) => {
      const pod = this.#known.get(listed.id) ?? (await this.#ask(listed, { signal }));
      return pod === undefined ? [] : [[listed.id, pod] as const];
    });
    const judged = new Map(found.flat());
    // What could not be told is asked again.
    this.#known = new Map([...judged].filter(([, pod]) => pod.sandboxed !== undefined));
    return [...judged.values()];
  }

  async #ask(
    { id, metadata, runtimeHandler }: ListedSandbox,
    options: CallOptions,
  ): Promise<Pod | undefined> {
    const { namespace = '', name = '', uid = '' } = metadata ?? {};
    const pod = { namespace, name, uid, handler: runtimeHandler };
    try {
      const { pid, runtimeType, cgroupParent } = await this.#client.sandbox(id, options);
      const seen = pid === undefined ? undefined : await readProcess(this.#host, pid).catch(() => undefined);
      const judged = { ...pod, ...judgeSandbox({ runtimeType, pid, argv: seen?.argv }) };
      if (judged.sandboxed !== true || seen === undefined || cgroupParent === '') return judged;
      return { ...judged, limited: isBelow(seen.cgroups, cgroupParent) };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (error instanceof CriError && error.kind === 'absent') return undefined; // it ended meanwhile
      return { ...pod, evidence: errorLine(error) };
    }
  }
}
