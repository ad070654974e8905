import { after, before } from 'node:test';
import { CriClient } from '../../agent/host/cri-client.ts';
import { Host } from '../../agent/host/host.ts';
import type { Housekeeping } from '../../agent/proof/housekeeping.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { prove } from '../../agent/proof/proof.ts';
import { PROBE_LABELS } from '../../agent/proof/sandbox-config.ts';
import { healNode } from '../../hack/cluster/break-node.ts';
import type { Cluster } from '../../hack/cluster/cluster.ts';
import type { ClusterNode } from '../../hack/cluster/node.ts';
import { removeCluster } from '../../hack/cluster/remove-cluster.ts';
import { startCluster } from '../../hack/cluster/start-cluster.ts';
import { laneCluster } from '../lane.ts';

/** The nodes of the cluster: each generation of containerd that nodes still run, with a gVisor of its time. */
export const NODES = [
  { name: 'containerd-2', containerd: '2', gvisor: 'current' },
  { name: 'containerd-1-7', containerd: '1.7', gvisor: '2025' },
  { name: 'containerd-1-6', containerd: '1.6', gvisor: '2025' },
] as const;

/** The name of one of the nodes. */
export type NodeName = (typeof NODES)[number]['name'];

/** For the head of a test file: a cluster of these nodes, whole before the first test and gone after the last. */
export function useNodes(): { cluster: () => Cluster; node: (name: NodeName) => ClusterNode } {
  let opened: Cluster | undefined;
  before(
    async () => {
      const cluster = await startCluster({
        name: await laneCluster('nodes'),
        nodes: NODES,
        images: ['workload'],
      });
      opened = cluster;
      await Promise.all(cluster.nodes().map((node) => healNode(cluster, node)));
    },
    { timeout: 600_000 },
  );
  after(async () => removeCluster(await laneCluster('nodes')), { timeout: 60_000 });
  const cluster = () => {
    if (opened === undefined) throw new Error('The cluster is not up yet');
    return opened;
  };
  return { cluster, node: (name) => cluster().node(name) };
}

/** A connection to a node's containerd that counts its calls, for proofs without an agent. */
export class NodeClient extends CriClient {
  readonly calls: string[] = [];
  /** How many proofs were begun, those included that were begun again. */
  attempts = 0;

  override call<Answer>(...args: Parameters<CriClient['call']>): Promise<Answer> {
    const [method, request] = args;
    this.calls.push(method);
    if (method === 'RunPodSandbox' && 'runtimeHandler' in request && request.runtimeHandler !== '')
      this.attempts += 1;
    return super.call<Answer>(...args);
  }

  /** The ids of the probes' sandboxes that live. */
  async readyProbes(): Promise<readonly string[]> {
    return this.#probes((state) => state === 'SANDBOX_READY');
  }

  /** The ids of dead sandboxes of probes, which containerd does not let go. */
  async deadProbes(): Promise<readonly string[]> {
    return this.#probes((state) => state !== 'SANDBOX_READY');
  }

  async #probes(wanted: (state: string) => boolean): Promise<readonly string[]> {
    const filter = { labelSelector: PROBE_LABELS };
    const { items } = await this.call<{ items: { id: string; state: string }[] }>('ListPodSandbox', {
      filter,
    });
    return items.filter(({ state }) => wanted(state)).map(({ id }) => id);
  }
}

/** Opens a connection to a node's containerd, from outside. */
export function connect(node: ClusterNode): NodeClient {
  const socket = '/run/containerd/containerd.sock';
  return new NodeClient(socket, node.path(socket));
}

/** One proof on a node, from outside. */
export function proveOn(node: ClusterNode, client: CriClient, housekeeping?: Housekeeping): Promise<Outcome> {
  const host = new Host(node.path('').replace(/\/$/, ''));
  const now = () => performance.now();
  return prove({ client, handler: 'runsc', host, now, housekeeping }, AbortSignal.timeout(90_000));
}
