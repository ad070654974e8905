import { after, before } from 'node:test';
import type { SandboxState } from '../../agent/containerd/client.ts';
import { CriClient } from '../../agent/containerd/client.ts';
import { Host } from '../../agent/host/host.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { Prover } from '../../agent/proof/prover.ts';
import { isProbe } from '../../agent/proof/sandbox.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { patient } from '../../hack/run.ts';
import { laneCluster } from '../runner/lane.ts';

/** The nodes of the cluster: each generation of containerd that nodes still run with a gVisor of its time, and the newest. */
export const NODES = [
  { name: 'containerd-2', containerd: '2', gvisor: 'current' },
  { name: 'containerd-1-7', containerd: '1.7', gvisor: '2025' },
  { name: 'newest-gvisor', containerd: '2', gvisor: '2026-09' },
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
  after(async () => removeCluster(await laneCluster('nodes')), { timeout: patient(60_000) });
  const cluster = () => {
    if (opened === undefined) throw new Error('The cluster is not up yet');
    return opened;
  };
  return { cluster, node: (name) => cluster().node(name) };
}

/** A connection to a node's containerd that counts the calls of a proof, for proofs without an agent. */
export class NodeClient extends CriClient {
  readonly calls: ProofCall[] = [];

  override runSandbox(...args: Parameters<CriClient['runSandbox']>): Promise<string> {
    this.calls.push('RunPodSandbox');
    return super.runSandbox(...args);
  }

  override listPids(...args: Parameters<CriClient['listPids']>): Promise<readonly number[]> {
    this.calls.push('ListPids');
    return super.listPids(...args);
  }

  override stopSandbox(...args: Parameters<CriClient['stopSandbox']>): Promise<void> {
    this.calls.push('StopPodSandbox');
    return super.stopSandbox(...args);
  }

  override removeSandbox(...args: Parameters<CriClient['removeSandbox']>): Promise<void> {
    this.calls.push('RemovePodSandbox');
    return super.removeSandbox(...args);
  }

  /** How many proofs were begun, those included that were begun again. */
  get attempts(): number {
    return this.calls.filter((call) => call === 'RunPodSandbox').length;
  }

  /** The ids of the probes' sandboxes that live. */
  async readyProbes(): Promise<readonly string[]> {
    return this.#probes('SANDBOX_READY');
  }

  /** The ids of dead sandboxes of probes, which containerd does not let go. */
  async deadProbes(): Promise<readonly string[]> {
    return this.#probes('SANDBOX_NOTREADY');
  }

  async #probes(state: SandboxState): Promise<readonly string[]> {
    return (await this.listSandboxes(state)).filter(isProbe).map(({ id }) => id);
  }
}

/** A call of a proof, in the order in which it makes them. */
export type ProofCall = 'RunPodSandbox' | 'ListPids' | 'StopPodSandbox' | 'RemovePodSandbox';

/** Opens a connection to a node's containerd, from outside. */
export function connect(node: ClusterNode): NodeClient {
  const socket = '/run/containerd/containerd.sock';
  return new NodeClient(socket, node.path(socket));
}

/** One proof on a node, from outside, which first removes what earlier ones of its owner left. */
export function proveOn(node: ClusterNode, client: CriClient, owner = 'integration'): Promise<Outcome> {
  const host = new Host(node.path('').replace(/\/$/, ''));
  const now = () => performance.now();
  const signal = AbortSignal.timeout(patient(90_000));
  const nobody = () => {};
  const options = { client, host, handler: 'runsc', now, signal, onLateEnd: nobody, onOrphans: nobody };
  return new Prover({ ...options, owner, wallMs: Date.now, waitMs: patient(80_000) }).prove(signal);
}
