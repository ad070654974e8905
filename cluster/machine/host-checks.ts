import { readdir, readFile, readlink, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { runAll, UsageError } from '../../hack/run.ts';
import { CLUSTERS } from '../plan/clusters.ts';

export type Caller = { readonly platform: string; readonly uid: number | undefined };

export function requireRoot(caller: Caller = { platform: process.platform, uid: process.getuid?.() }): void {
  if (caller.platform !== 'linux') {
    throw new UsageError(
      `A cluster is made of Linux namespaces, and this is ${caller.platform}: run it on a Linux machine or in a Linux virtual machine.`,
    );
  }
  if (caller.uid !== 0) {
    throw new UsageError(
      'Only root can make namespaces, mounts and cgroups: run the same command with sudo.',
    );
  }
}

const OVERLAY_MAGIC = 0x794c7630;
const TRIAL = `
ip link add t0 type bridge
ip link add t1 type veth peer name t2
mount -t tmpfs tmpfs /tmp
mkdir /tmp/l /tmp/u /tmp/w /tmp/m
mount -t overlay overlay -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w /tmp/m
`;

/** Tries namespaces, a bridge, a veth pair and an overlay. Throws a UsageError if the kernel refuses one. */
export async function requireKernel(): Promise<void> {
  await requireUpperDirectory(dirname(CLUSTERS));
  const cgroups = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[2]);
  if (!cgroups.includes('cgroup') && !cgroups.includes('cgroup2')) {
    throw new UsageError(
      'No cgroup file system is mounted: mount one at /sys/fs/cgroup; a kubelet needs it.',
    );
  }
  const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--kill-child=SIGKILL'];
  const { code, stderr } = await runAll('unshare', [...namespaces, '/bin/sh', '-ec', TRIAL]);
  if (code === 0) return;
  throw new UsageError(
    `The kernel refuses what a cluster is made of (${stderr.trim().split('\n').at(-1)}): it needs namespaces, overlay, bridge and veth; in a container, a privileged one.`,
  );
}

/** A kubelet, containerd and an agent. */
const INOTIFY_OF_A_NODE = 10;

/**
 * Rethrows with advice if root has too few inotify instances left: the usual 128 is enough for a dozen nodes. Source:
 * https://man7.org/linux/man-pages/man7/inotify.7.html
 */
export async function explainNodes(error: Error, instances = inotifyInstances()): Promise<never> {
  const { max, inUse } = await instances;
  if (max - inUse >= INOTIFY_OF_A_NODE) throw error;
  const advice = `\`sysctl fs.inotify.max_user_instances=${Math.max(max * 4, 512)}\`, or take another cluster \`down\``;
  const words = `${error.message}; ${inUse} of the ${max} inotify instances that root may have are in use: ${advice}.`;
  throw new UsageError(words, { cause: error });
}

export async function inotifyInstances(): Promise<{ readonly max: number; readonly inUse: number }> {
  const limit = await readFile('/proc/sys/fs/inotify/max_user_instances', 'utf8').catch(() => 'Infinity');
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const counts = await Promise.all(
    pids.map(async (pid) => {
      const fds = await readdir(`/proc/${pid}/fd`).catch(() => []); // the process has ended
      const links = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
      return links.filter((link) => link === 'anon_inode:inotify').length;
    }),
  );
  return { max: Number(limit), inUse: counts.reduce((sum, count) => sum + count, 0) };
}

async function requireUpperDirectory(directory: string): Promise<void> {
  const { type } = await statfs(directory).catch(() => statfs(dirname(directory)));
  if (type !== OVERLAY_MAGIC) return;
  throw new UsageError(
    `${directory} is on an overlay, on which no node's files can be laid: mount a disk there, or \`mkdir -p ${directory} && mount -t tmpfs tmpfs ${directory}\`.`,
  );
}
