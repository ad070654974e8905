import { existsSync, readdirSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CLUSTERS } from '../hack/paths.ts';
import { locked } from './lock.ts';
import { cgroupOf, removeCgroup } from './machine/cgroups.ts';
import { requireName } from './machine/host-checks.ts';
import { endProcesses } from './machine/machine-processes.ts';

/** The names of the clusters that this machine holds, running or not. */
export function clusterNames(): string[] {
  return existsSync(CLUSTERS) ? readdirSync(CLUSTERS) : [];
}

/** Ends a cluster that may be half started, and removes its processes, cgroups and files. Harmless when there is none. */
export async function removeCluster(name: string): Promise<void> {
  requireName(name);
  await locked(name, () => removeHeldCluster(name));
}

/** Does the same where this process itself holds the cluster's lock: while it starts it. */
export async function removeHeldCluster(name: string): Promise<void> {
  const dir = join(CLUSTERS, name);
  await endProcesses(dir);
  await removeCgroup(cgroupOf(dir));
  await rm(dir, { recursive: true, force: true });
  for (const parent of [CLUSTERS, dirname(CLUSTERS)]) await rmdir(parent).catch(() => {}); // others may live there
}
