import type { CallOptions, CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-error.ts';
import type { Host } from '../host/host.ts';
import { readSandboxInfo } from '../host/sandbox-info.ts';
import { POD_UID } from '../proof/sandbox-config.ts';
import { judgeSandbox, type Pod } from './pod.ts';

type Listed = {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string } | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
};

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

  /** The running pods of the kubelet; probes are none. Rejects when containerd does not answer. */
  async read(signal: AbortSignal): Promise<readonly Pod[]> {
    const filter = { state: { state: 'SANDBOX_READY' } };
    const { items } = await this.#client.call<{ items: Listed[] }>('ListPodSandbox', { filter }, { signal });
    const pods = items.filter(({ labels, metadata }) => metadata !== null && POD_UID in labels);
    const judged = new Map<string, Pod>();
    for (let first = 0; first < pods.length; first += AT_ONCE) {
      const some = pods.slice(first, first + AT_ONCE);
      const found = await Promise.all(
        some.map((pod) => this.#known.get(pod.id) ?? this.#ask(pod, { signal })),
      );
      for (const [index, pod] of found.entries()) {
        const { id } = some[index] as Listed;
        if (pod !== undefined) judged.set(id, pod);
      }
    }
    // What could not be told is asked again.
    this.#known = new Map([...judged].filter(([, pod]) => pod.sandboxed !== undefined));
    return [...judged.values()];
  }

  async #ask({ id, metadata, runtimeHandler }: Listed, options: CallOptions): Promise<Pod | undefined> {
    const { namespace = '', name = '', uid = '' } = metadata ?? {};
    try {
      const { pid, runtimeType } = await readSandboxInfo(this.#client, id, options);
      const argv = pid === undefined ? undefined : await this.#argumentsOf(pid);
      return { namespace, name, uid, handler: runtimeHandler, ...judgeSandbox({ runtimeType, pid, argv }) };
    } catch (error) {
      if (error instanceof CriError && error.kind === 'absent') return undefined; // it ended meanwhile
      throw error;
    }
  }

  async #argumentsOf(pid: number): Promise<readonly string[] | undefined> {
    const text = await this.#host.readText(`/proc/${pid}/cmdline`).catch(() => undefined);
    return text === undefined || text === '' ? undefined : text.split('\0');
  }
}
