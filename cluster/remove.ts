import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cgroupPath, removeCgroup } from './machine/cgroups.ts';
import { endProcesses } from './machine/processes.ts';
import { CLUSTERS, requireName } from './plan/clusters.ts';
import { locked } from './plan/lock.ts';

/** Processes, cgroups and files, also of a cluster that is half started. Idempotent. */
export async function removeCluster(name: string): Promise<void> {
  requireName(name);
  await locked(name, () => removeHeldCluster(name));
}

/** The caller holds the cluster's lock. */
export async function removeHeldCluster(name: string): Promise<void> {
  const dir = join(CLUSTERS, name);
  await endProcesses(dir);
  await removeCgroup(cgroupPath(dir));
  await rm(dir, { recursive: true, force: true });
  for (const parent of [CLUSTERS, dirname(CLUSTERS)]) await rmdir(parent).catch(() => {}); // not empty
}
