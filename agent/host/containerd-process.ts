import { posix } from 'node:path';
import { isAbsent } from './absent.ts';
import type { Host } from './host.ts';

/** Where a containerd looks for its shims, in order. */
export type SearchPath = {
  /** For the shim: working directory, PATH, directory of the executable. */
  readonly directories: readonly string[];
  /** PATH alone, which the shim inherits and in which it looks for runsc. */
  readonly path: readonly string[];
  /** How the directories are known, in words for evidence. */
  readonly source: string;
  /** True when a containerd runs and does not let its PATH be read: what is not found here may be found there. */
  readonly isGuess: boolean;
};

/** What systemd gives a service: https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24PATH */
const STANDARD_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The directories in which containerd looks for a shim: its working directory, its own PATH, and the
 * directory of its executable. Its standard PATH when no containerd can be looked into.
 * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/shim_manager.go
 */
export async function readSearchPath(host: Host, signal?: AbortSignal): Promise<SearchPath> {
  const pids = await containerdPids(host, signal);
  const paths = (await Promise.all(pids.map((pid) => searchPathOf(host, pid)))).filter(
    (path) => path !== undefined,
  );
  const [first, ...others] = paths;
  if (!first) {
    const why =
      pids.length === 0 ? 'no process named containerd was seen' : 'its process cannot be looked into';
    return {
      directories: STANDARD_PATH.split(':'),
      path: STANDARD_PATH.split(':'),
      source: `the standard PATH, because ${why}`,
      isGuess: pids.length > 0,
    };
  }
  const differ = others.some((other) => other.directories.join(':') !== first.directories.join(':'));
  if (!differ && paths.length === pids.length) return first;
  const directories = [...new Set(paths.flatMap((path) => path.directories))];
  const path = [...new Set(paths.flatMap((each) => each.path))];
  return {
    directories,
    path,
    source: `the PATHs of ${pids.length} processes named containerd`,
    isGuess: paths.length < pids.length,
  };
}

/** The first file named `name` in the directories, an executable one before any other. */
export async function findInPath(
  host: Host,
  directories: readonly string[],
  name: string,
): Promise<string | undefined> {
  let present: string | undefined;
  for (const directory of directories) {
    const path = posix.join('/', directory, name);
    const stat = await host.stat(path);
    if (!stat || stat.kind === 'directory') continue;
    if ((stat.mode & 0o111) !== 0) return path;
    present ??= path;
  }
  return present;
}

/** The processes named containerd, as the names of their folders in /proc. */
export function containerdPids(host: Host, signal?: AbortSignal): Promise<readonly string[]> {
  return pidsNamed(host, /^containerd$/, signal);
}

/**
 * The processes that are, or hold, a kubelet: one of its own name, k3s, or MicroK8s' kubelite.
 * Sources: https://github.com/k3s-io/k3s/blob/master/cmd/k3s/main.go (it executes "k3s-server" or "k3s-agent"),
 * https://github.com/canonical/microk8s/tree/master/microk8s-resources/wrappers (run-kubelite-with-args)
 */
export function kubeletPids(host: Host, signal?: AbortSignal): Promise<readonly string[]> {
  return pidsNamed(host, /^(kubelet|kubelite|k3s-server|k3s-agent)$/, signal);
}

async function pidsNamed(host: Host, name: RegExp, signal?: AbortSignal): Promise<readonly string[]> {
  const entries = ((await host.list('/proc')) ?? []).filter((entry) => /^\d+$/.test(entry));
  const found: string[] = [];
  for (const pid of entries) {
    signal?.throwIfAborted();
    // A process that may not be looked at is not known to have the name.
    const comm = await host.readText(`/proc/${pid}/comm`).catch(() => undefined);
    if (comm !== undefined && name.test(comm.trim())) found.push(pid);
  }
  return found;
}

async function searchPathOf(host: Host, pid: string): Promise<SearchPath | undefined> {
  const environ = await readable(host.readText(`/proc/${pid}/environ`));
  const path = environ?.split('\0').find((variable) => variable.startsWith('PATH='));
  if (path === undefined) return undefined;
  const cwd = await readable(host.readLink(`/proc/${pid}/cwd`));
  const exe = await readable(host.readLink(`/proc/${pid}/exe`));
  const own = path
    .slice('PATH='.length)
    .split(':')
    .filter((directory) => directory.startsWith('/'));
  const directories = [...(cwd ? [cwd] : []), ...own, ...(exe ? [posix.dirname(exe)] : [])];
  return {
    directories: [...new Set(directories)],
    path: own,
    source: `the PATH of containerd, process ${pid}`,
    isGuess: false,
  };
}

/** Without capabilities the kernel hides these files of other processes; that is no fault of the node. */
async function readable(reading: Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await reading;
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM' || isAbsent({ code })) return undefined;
    throw error;
  }
}
