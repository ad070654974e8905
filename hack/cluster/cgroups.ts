import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { waitFor } from '../run.ts';
import type { Machine } from './machine.ts';

/** The folder of cgroups that all clusters of this machine live in. */
const ROOT = '/gvisor-ready';

/** The cgroup (as a path in every hierarchy) below which a node's kubelet puts its pods. */
export function cgroupOf(cluster: string, node?: string): string {
  return [ROOT, cluster, ...(node === undefined ? [] : [node])].join('/');
}

async function hierarchies(): Promise<{ path: string; v2: boolean }[]> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' '));
  return mounts
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, path = '', type]) => ({ path, v2: type === 'cgroup2' }));
}

/** Makes a cgroup in every hierarchy; on cgroup v2 with the controllers that a kubelet needs. */
export async function createCgroup(path: string): Promise<void> {
  for (const hierarchy of await hierarchies()) {
    let made = hierarchy.path;
    for (const part of path.split('/').filter(Boolean)) {
      if (hierarchy.v2 && existsSync(join(made, 'cgroup.controllers'))) {
        const has = (await readFile(join(made, 'cgroup.controllers'), 'utf8')).trim().split(' ');
        const wanted = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'].filter((name) =>
          has.includes(name),
        );
        if (wanted.length > 0) {
          await writeFile(join(made, 'cgroup.subtree_control'), wanted.map((name) => `+${name}`).join(' '));
        }
      }
      made = join(made, part);
      await mkdir(made, { recursive: true });
    }
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

/** Where a node's containerd keeps its running containers, one folder each, named by its id. */
const TASKS = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';

/** The containers that run on a machine and its nodes' machines; none of a machine that is off. */
export function containersOf(machines: readonly Machine[]): string[] {
  return machines
    .filter((machine) => machine.pid() !== undefined && existsSync(machine.path(TASKS)))
    .flatMap((machine) => readdirSync(machine.path(TASKS)));
}

/**
 * Removes the cgroups of ended containers that had no parent, as of sandboxes that somebody asked
 * containerd for without a kubelet: it puts them beside every other cgroup of the machine.
 */
export async function removeContainerCgroups(ids: readonly string[]): Promise<void> {
  for (const { path } of await hierarchies()) {
    const parent = join(path, 'k8s.io');
    const left = ids.filter((id) => existsSync(join(parent, id)));
    for (const id of left) {
      await waitFor(`the cgroup ${parent}/${id} to be empty`, 10_000, async () => {
        await removeTree(join(parent, id));
        return true;
      });
    }
    if (left.length > 0) await rmdir(parent).catch(() => {}); // others may live there
  }
}

async function removeTree(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(path, entry.name));
  }
  await rmdir(path);
}
