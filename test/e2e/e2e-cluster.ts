import { join } from 'node:path';
import { after, before } from 'node:test';
import { healNode } from '../../hack/cluster/break-node.ts';
import { type Cluster, startCluster } from '../../hack/cluster/cluster.ts';
import { removeCluster } from '../../hack/cluster/remove-cluster.ts';
import { REPO } from '../../hack/paths.ts';
import { deployAgent } from '../../hack/story.ts';

/** The cluster that the end-to-end tests share, one file after the other. */
export const E2E_CLUSTER = 'e2e';

/**
 * For the head of a test file: three nodes with the agent deployed, all of them healed and judged, before
 * the first test. The runner of all tiers keeps the cluster for the next file; a file that is run alone
 * takes it down. Gives a function that gives the cluster.
 */
export function useCluster(): () => Cluster {
  let cluster: Cluster | undefined;
  before(
    async () => {
      cluster = await startCluster({ name: E2E_CLUSTER, images: ['workload', 'agent'] });
      const opened = cluster;
      await Promise.all(opened.nodes().map((node) => healNode(opened, node)));
      await deployAgent(opened, join(REPO, 'manifests/base'));
    },
    { timeout: 600_000 },
  );
  after(async () => {
    if (process.env.KEEP_E2E_CLUSTER === undefined) await removeCluster(E2E_CLUSTER);
  });
  return () => {
    if (cluster === undefined) throw new Error('The cluster is not up yet');
    return cluster;
  };
}

/** Deletes pods at once and waits until they are gone. */
export async function deletePods(cluster: Cluster, ...names: readonly string[]): Promise<void> {
  await cluster.kubectl(['delete', 'pod', ...names, '--ignore-not-found', '--grace-period=0', '--force']);
}
