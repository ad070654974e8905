import assert from 'node:assert/strict';
import timers from 'node:timers/promises';
import { Prover } from '../../agent/proof/prover.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { patient } from '../../hack/run.ts';
import { type CallOptions, CriClient, type SandboxState } from '../../lib/containerd/client.ts';
import { Host } from '../../lib/host/host.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { RARE } from '../rare.ts';

/** Each containerd version with a gVisor of its time, and the newest gVisor. */
const ALL_NODES = [
  { name: 'containerd-2', containerd: '2', gvisor: 'current' },
  { name: 'containerd-1-7', containerd: '1.7', gvisor: '2025' },
  { name: 'newest-gvisor', containerd: '2', gvisor: '2026-09' },
] as const;

/** The first of them; `test/nightly/other-tiers.test.ts` runs the same files on all. */
export const NODES = RARE ? ALL_NODES : ALL_NODES.slice(0, 1);

export type NodeName = (typeof ALL_NODES)[number]['name'];

/** Starts a cluster of these nodes before the first test and removes it after the last. */
export function useNodes(): {
  cluster: () => Cluster;
  node: (name: NodeName) => ClusterNode;
} {
  const heal = (opened: Cluster) => Promise.all(opened.nodes().map((node) => healNode(opened, node)));
  const cluster = useOwnCluster('nodes', NODES, heal, ['workload']);
  return { cluster, node: (name) => cluster().node(name) };
}

/** A client of a node's containerd that records its calls. */
export class NodeClient extends CriClient {
  readonly calls: string[] = [];

  override call<Response>(method: string, ...rest: readonly [request: object, options?: CallOptions]) {
    this.calls.push(method);
    return super.call<Response>(method, ...rest);
  }

  /** IDs of running probes. */
  async readyProbes(): Promise<readonly string[]> {
    return this.#probes('SANDBOX_READY');
  }

  /** IDs of stopped probes that were not removed. */
  async deadProbes(): Promise<readonly string[]> {
    return this.#probes('SANDBOX_NOTREADY');
  }

  async #probes(state: SandboxState): Promise<readonly string[]> {
    return (await this.listSandboxes(state)).filter(isProbe).map(({ id }) => id);
  }
}

/** Calls of a proof, in order. */
export const PROOF_CALLS = ['RunPodSandbox', 'Tasks.ListPids', 'StopPodSandbox', 'RemovePodSandbox'];

/** Connects to a node's containerd from outside. */
export function connect(node: ClusterNode): NodeClient {
  const socket = '/run/containerd/containerd.sock';
  return new NodeClient(socket, node.path(socket));
}

/** Runs one proof on a node from outside, after a sweep of its owner's orphans. */
export function proveOn(node: ClusterNode, client: CriClient, owner = 'integration'): Promise<Outcome> {
  const host = new Host(node.path('').replace(/\/$/, ''));
  const now = () => performance.now();
  const signal = AbortSignal.timeout(patient(90_000));
  const ignore = () => {};
  const options = { client, host, handler: 'runsc', now, signal, onLateEnd: ignore, onOrphans: ignore };
  return new Prover({ ...options, owner, wallMs: Date.now, waitMs: patient(80_000) }).prove(signal);
}

/**
 * Asserts that containerd cannot stop any probe that still runs. A kill during a proof can leave a sandbox whose container
 * was created but not started, and such a sandbox accepts no signal.
 */
export async function assertNoneStoppable(client: NodeClient): Promise<void> {
  for (const id of await client.readyProbes()) {
    const stopping = client.stopSandbox(id, { timeoutMs: 10_000 });
    await assert.rejects(stopping, { name: 'CriError', kind: 'refused' }, id);
  }
}

/** Waits for a random time up to `maxMs`. */
export async function randomPause(maxMs: number): Promise<void> {
  await timers.setTimeout(Math.random() * maxMs);
}
