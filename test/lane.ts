import { clusterNames } from '../cluster/clusters.ts';
import { tryLock } from '../cluster/lock.ts';
import { removeCluster } from '../cluster/remove.ts';

/** What the names of all clusters of tests begin with; another lets two checkouts test at once. */
const PREFIX = process.env.TEST_CLUSTERS ?? 'test';

let lane: Promise<number> | undefined;

/**
 * The name of a cluster of this process's lane. A lane is one process's as long as it runs, so that two test files
 * that run at the same time never meet in a cluster, and one that comes later finds the cluster that was kept, if it wants
 * the same. What was kept for others is removed: a dozen nodes use up the 128 inotify instances of a user, which is
 * the kernel's default, and no kubelet starts any more.
 */
export async function laneCluster(purpose: string): Promise<string> {
  lane ??= claimLane(purpose);
  return `${PREFIX}-${await lane}-${purpose}`;
}

async function claimLane(purpose: string): Promise<number> {
  for (let number = 1; ; number++) {
    if ((await tryLock(`cluster-${PREFIX}-lane-${number}`)) === undefined) continue;
    const own = `${PREFIX}-${number}-`;
    for (const name of clusterNames())
      if (name.startsWith(own) && name !== `${own}${purpose}`) await removeCluster(name);
    return number;
  }
}

/** Removes every cluster of tests, those that a run that was killed has left as well. */
export async function removeLaneClusters(): Promise<void> {
  for (const name of clusterNames()) if (name.startsWith(`${PREFIX}-`)) await removeCluster(name);
}
