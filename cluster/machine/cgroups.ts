import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { waitFor } from '../../hack/run.ts';
import { CLUSTERS } from '../clusters.ts';

/** The folder of cgroups that all clusters of this machine live in. */
const ROOT = '/gvisor-ready';

/** The cgroup, as a path in every hierarchy, of what lives in a folder below {@link CLUSTERS}. */
export function cgroupOf(dir: string): string {
  return join(ROOT, relative(CLUSTERS, dir));
}

async function hierarchies(): Promise<{ path: string; v2: boolean }[]> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' '));
  return mounts
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, path = '', type]) => ({ path, v2: type === 'cgroup2' }));
}

/** Makes a cgroup in every hierarchy, ready to take processes and cgroups of its own; gives their folders. */
export async function createCgroup(path: string): Promise<string[]> {
  const folders: string[] = [];
  for (const hierarchy of await hierarchies()) {
    let made = hierarchy.path;
    for (const part of path.split('/').filter(Boolean)) {
      if (hierarchy.v2) await delegateControllers(made);
      const parent = made;
      made = join(parent, part);
      await mkdir(made, { recursive: true });
      if (existsSync(join(made, 'cpuset.cpus')) && !hierarchy.v2) await inheritCpuset(parent, made);
    }
    folders.push(made);
  }
  return folders;
}

/** Cgroup v2 gives controllers to children only where they are asked for; these are the kubelet's. */
async function delegateControllers(folder: string): Promise<void> {
  const controllers = join(folder, 'cgroup.controllers');
  const has = existsSync(controllers) ? (await readFile(controllers, 'utf8')).trim().split(' ') : [];
  const wanted = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'].filter((name) => has.includes(name));
  if (wanted.length === 0) return;
  await writeFile(join(folder, 'cgroup.subtree_control'), wanted.map((name) => `+${name}`).join(' '));
}

/** A cpuset of cgroup v1 begins empty, and takes no process until it has processors and memory nodes. */
async function inheritCpuset(parent: string, folder: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if ((await readFile(join(folder, file), 'utf8')).trim() !== '') continue;
    await writeFile(join(folder, file), await readFile(join(parent, file), 'utf8'));
  }
}

/** Removes a cgroup and all below it from every hierarchy, once its processes have ended. */
export async function removeCgroup(path: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    await waitFor(`the cgroup ${hierarchy.path}${path} to be empty`, 10_000, async () => {
      await removeTree(join(hierarchy.path, path));
      return true;
    });
    await rmdir(dirname(join(hierarchy.path, path))).catch(() => {}); // another cluster may live there
  }
}

async function removeTree(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(path, entry.name));
  }
  await rmdir(path);
}
