import { existsSync, readdirSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CLUSTERS } from '../paths.ts';
import { cgroupOf, containersOf, removeCgroup, removeContainerCgroups } from './cgroups.ts';
import { requireName } from './host-checks.ts';
import { locked } from './lock.ts';
import { endProcesses, Machine } from './machine.ts';
import { readNodes } from './node-plan.ts';

/** The names of the clusters that this machine holds, running or not. */
export function clusterNames(): string[] {
  return existsSync(CLUSTERS) ? readdirSync(CLUSTERS) : [];
}

/** Ends a cluster that may be half started, and removes its processes, cgroups and files. Harmless when there is none. */
export async function removeCluster(name: string): Promise<void> {
  requireName(name);
  await locked(name, async () => {
    const dir = join(CLUSTERS, name);
    const nodes = readNodes(dir).map((spec) => new Machine(spec.name, join(dir, 'nodes', spec.name)));
    const containers = containersOf(nodes);
    await endProcesses(dir);
    await removeCgroup(cgroupOf(name));
    await removeContainerCgroups(containers);
    await rm(dir, { recursive: true, force: true });
    for (const parent of [CLUSTERS, dirname(CLUSTERS)]) await rmdir(parent).catch(() => {}); // others may live there
  });
}
