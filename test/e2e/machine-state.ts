import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLUSTERS } from '../../cluster/plan/clusters.ts';
import { run } from '../../hack/run.ts';

/** Resources that a cluster could leave on the machine, as lines by kind. */
export type MachineState = Readonly<Record<string, readonly string[]>>;

/** Reads the resources of `cluster`, without those of other clusters. */
export async function machineState(cluster: string): Promise<MachineState> {
  const directories = ['/var/lib/gvisor-ready', '/run/netns'].flatMap((directory) =>
    filesBelow(directory, 3),
  );
  const cgroups = cgroupMounts()
    .flatMap((mount) => filesBelow(mount, 4))
    .filter(isEmptyCgroup);
  const lines = async (...args: string[]) => (await run('ip', ['-o', ...args])).split('\n').filter(Boolean);
  return {
    processes: processesOf(cluster),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(Boolean).sort(),
    links: (await lines('link')).map((line) => line.split(':')[1] ?? ''),
    addresses: (await lines('addr')).map((line) => line.split(/\s+/).slice(1, 4).join(' ')),
    routes: await lines('route', 'show', 'table', 'all'),
    namespaces: await lines('netns'),
    files: directories.filter((path) => isOwn(path, CLUSTERS, cluster)),
    cgroups: cgroups.filter((path) =>
      isOwn(path.replace(/^.*(?=\/gvisor-ready)/, ''), '/gvisor-ready', cluster),
    ),
    abstractSockets: readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .flatMap((line) => line.split(/\s+/)[7] ?? [])
      .filter((path) => path.includes(`gvisor-ready-cluster-${cluster}`)),
  };
}

/** Added and removed lines. Removed cgroups are ignored, because they may belong to other clusters. */
export function changesBetween(before: MachineState, after: MachineState): readonly string[] {
  return Object.keys(before).flatMap((kind) => {
    const [old = [], now = []] = [before[kind], after[kind]];
    const gone = kind === 'cgroups' ? [] : old.filter((line) => !now.includes(line));
    const added = now.filter((line) => !old.includes(line));
    return [...gone.map((line) => `- ${kind}: ${line}`), ...added.map((line) => `+ ${kind}: ${line}`)];
  });
}

/** Whether a path belongs to no other cluster. */
function isOwn(path: string, parent: string, cluster: string): boolean {
  if (path === `${parent}/${cluster}` || path.startsWith(`${parent}/${cluster}/`)) return true;
  const others = existsSync(CLUSTERS) ? readdirSync(CLUSTERS).filter((name) => name !== cluster) : [];
  const shared = path.startsWith(parent) || parent.startsWith(`${path}/`);
  return !(shared && others.length > 0);
}

/** Processes that name the cluster in their arguments, or whose files are those of one of its machines. */
function processesOf(cluster: string): string[] {
  const mark = `${CLUSTERS}/${cluster}/`;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && entry !== String(process.pid))
    .flatMap((entry) => {
      try {
        const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const mounts = readFileSync(`/proc/${entry}/mountinfo`, 'utf8');
        return command.includes(mark) || mounts.includes(mark) ? [`${entry} ${command}`] : [];
      } catch {
        return []; // it has just exited
      }
    });
}

function cgroupMounts(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([, path = '', type]) => (type === 'cgroup' || type === 'cgroup2' ? [path] : []));
}

function isEmptyCgroup(path: string): boolean {
  try {
    return readFileSync(join(path, 'cgroup.procs'), 'utf8') === '';
  } catch {
    return false; // removed meanwhile, or threaded
  }
}

function filesBelow(directory: string, depth: number): string[] {
  if (depth === 0 || !existsSync(directory)) return [];
  const found = [directory];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) found.push(...filesBelow(join(directory, entry.name), depth - 1));
    else if (!directory.startsWith('/sys/')) found.push(join(directory, entry.name));
  }
  return found.sort();
}
