import assert from 'node:assert/strict';
import timers from 'node:timers/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { patient } from '../../hack/run.ts';
import type { SandboxState } from '../../lib/node/containerd/client.ts';
import { CriClient } from '../../lib/node/containerd/client.ts';
import { Host } from '../../lib/node/host/host.ts';
import type { Outcome } from '../../lib/node/proof/outcome.ts';
import { Prover } from '../../lib/node/proof/prover.ts';
import { isProbe } from '../../lib/node/proof/sandbox.ts';
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
  let opened: Cluster | undefined;
  const prepare = (cluster: Cluster) => {
    opened = cluster;
    return Promise.all(cluster.nodes().map((node) => healNode(cluster, node)));
  };
  useOwnCluster('nodes', NODES, prepare, ['workload']);
  const cluster = () => {
    if (opened === undefined) throw new Error('The cluster is not up yet');
    return opened;
  };
  return { cluster, node: (name) => cluster().node(name) };
}

/** A client of a node's containerd that records the calls of proofs. */
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

  /** Attempts of all proofs. */
  get attempts(): number {
    return this.calls.filter((call) => call === 'RunPodSandbox').length;
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
export const PROOF_CALLS = ['RunPodSandbox', 'ListPids', 'StopPodSandbox', 'RemovePodSandbox'] as const;
export type ProofCall = (typeof PROOF_CALLS)[number];

/** Connects to a node's containerd from outside. */
export function connect(node: ClusterNode): NodeClient {
  const socket = '/run/containerd/containerd.sock';
  return new NodeClient(socket, node.path(socket));
}

/** Runs one proof on a node from outside, after a sweep of its owner's orphans. */
export function proveOn(
  node: ClusterNode,
  client: CriClient,
  owner = 'integration',
  handler = 'runsc',
): Promise<Outcome> {
  const host = new Host(node.path('').replace(/\/$/, ''));
  const now = () => performance.now();
  const signal = AbortSignal.timeout(patient(90_000));
  const ignore = () => {};
  const options = { client, host, handler, now, signal, onLateEnd: ignore, onOrphans: ignore };
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
