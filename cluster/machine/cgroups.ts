import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { waitFor } from '../../hack/run.ts';
import { CLUSTERS } from '../plan/clusters.ts';

/** The parent cgroup of all clusters. */
const ROOT = '/gvisor-ready';

/** A path in every hierarchy, of a directory below {@link CLUSTERS}. */
export function cgroupPath(dir: string): string {
  return join(ROOT, relative(CLUSTERS, dir));
}

async function hierarchies(): Promise<{ path: string; v2: boolean }[]> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' '));
  return mounts
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, path = '', type]) => ({ path, v2: type === 'cgroup2' }));
}

/** Returns the directories, one in each hierarchy. */
export async function createCgroup(path: string): Promise<string[]> {
  const directories: string[] = [];
  for (const hierarchy of await hierarchies()) {
    let made = hierarchy.path;
    for (const part of path.split('/').filter(Boolean)) {
      if (hierarchy.v2) await delegateControllers(made);
      const parent = made;
      made = join(parent, part);
      await mkdir(made, { recursive: true });
      if (existsSync(join(made, 'cpuset.cpus')) && !hierarchy.v2) await inheritCpuset(parent, made);
    }
    directories.push(made);
  }
  return directories;
}

/** cgroup v2 requires this for the kubelet's controllers. */
async function delegateControllers(directory: string): Promise<void> {
  const controllers = join(directory, 'cgroup.controllers');
  const has = existsSync(controllers) ? (await readFile(controllers, 'utf8')).trim().split(' ') : [];
  const wanted = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'].filter((name) => has.includes(name));
  if (wanted.length === 0) return;
  await writeFile(join(directory, 'cgroup.subtree_control'), wanted.map((name) => `+${name}`).join(' '));
}

/** An empty cpuset of cgroup v1 accepts no process. */
async function inheritCpuset(parent: string, directory: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if ((await readFile(join(directory, file), 'utf8')).trim() !== '') continue;
    await writeFile(join(directory, file), await readFile(join(parent, file), 'utf8'));
  }
}

/** Removes it with its children from every hierarchy, once its processes have ended. */
export async function removeCgroup(path: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    await waitFor(`the cgroup ${hierarchy.path}${path} to be empty`, 10_000, async () => {
      await removeTree(join(hierarchy.path, path));
      return true;
    });
    await rmdir(dirname(join(hierarchy.path, path))).catch(() => {}); // not empty
  }
}

async function removeTree(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(path, entry.name));
  }
  await rmdir(path);
}
