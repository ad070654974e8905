import { clusterNames } from '../../cluster/plan/clusters.ts';
import { tryLock } from '../../cluster/plan/lock.ts';
import { removeCluster } from '../../cluster/remove.ts';

/** Prefix of the names of all clusters of tests; another prefix lets two checkouts test at once. */
const PREFIX = process.env.TEST_CLUSTERS ?? 'test';

let lane: Promise<number> | undefined;

/**
 * The name of a cluster in this process's lane. A process owns its lane while it runs, so test files that run at the same
 * time never share a cluster. What earlier files left in the lane is removed when a process claims it, because they may
 * have been killed, and a dozen nodes exhaust the kernel's default of 128 inotify instances.
 */
export async function laneCluster(purpose: string): Promise<string> {
  lane ??= claimLane(undefined);
  return `${PREFIX}-${await lane}-${purpose}`;
}

/** As {@link laneCluster}, of a cluster that is kept if an earlier file left it. */
export async function sharedCluster(purpose: string): Promise<string> {
  lane ??= claimLane(purpose);
  return laneCluster(purpose);
}

async function claimLane(kept: string | undefined): Promise<number> {
  for (let number = 1; ; number++) {
    if ((await tryLane(number)) === undefined) continue;
    const own = `${PREFIX}-${number}-`;
    for (const name of clusterNames())
      if (name.startsWith(own) && name !== `${own}${kept}`) await removeCluster(name);
    return number;
  }
}

/** Locks a lane and returns its release; undefined while another process owns it. */
function tryLane(number: number): Promise<(() => void) | undefined> {
  return tryLock(`cluster-${PREFIX}-lane-${number}`);
}

/** Removes the clusters of all lanes that no process owns, including those of runs that were killed. */
export async function removeLaneClusters(): Promise<void> {
  for (const name of clusterNames()) {
    const number = new RegExp(`^${PREFIX}-(\\d+)-`).exec(name)?.[1];
    if (number === undefined) continue;
    const release = await tryLane(Number(number));
    if (release === undefined) continue;
    await removeCluster(name);
    release();
  }
}
