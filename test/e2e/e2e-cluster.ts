import { join } from 'node:path';
import { after, before } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { deployAgent } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { laneCluster } from '../runner/lane.ts';

/** The nodes of the cluster with gVisor. */
export const GVISOR_NODES = ['node-1', 'node-2'] as const;

/**
 * Starts the cluster that the files of a lane share, or its missing parts: three healed nodes with agents and a verdict.
 */
export async function openCluster(): Promise<Cluster> {
  const cluster = await startCluster({ name: await laneCluster('e2e'), images: ['workload', 'agent'] });
  await Promise.all(cluster.nodes().map((node) => healNode(cluster, node)));
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  return cluster;
}

/** Removes the cluster unless the next file reuses it. */
export async function closeCluster(): Promise<void> {
  if (process.env.KEEP_E2E_CLUSTER === undefined) await removeCluster(await laneCluster('e2e'));
}

/** Registers hooks that open the cluster before the first test. Returns an accessor of it. */
export function useCluster(): () => Cluster {
  let cluster: Cluster | undefined;
  before(
    async () => {
      cluster = await openCluster();
    },
    { timeout: 600_000 },
  );
  after(closeCluster);
  return () => {
    if (cluster === undefined) throw new Error('The cluster is not up yet');
    return cluster;
  };
}

/** Deletes pods without a grace period and waits until they are gone. */
export async function deletePods(cluster: Cluster, ...names: readonly string[]): Promise<void> {
  await cluster.kubectl(['delete', 'pod', ...names, '--ignore-not-found', '--grace-period=0', '--force']);
}
