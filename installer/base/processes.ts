import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseCgroups, parseProcessStat, podUidOf } from '../../lib/host/process.ts';
import { TICKS_PER_SECOND } from '../../lib/sandboxes/processes.ts';

export async function listPids(root: string): Promise<readonly number[]> {
  const names = await readdir(join(root, '/proc'));
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Finds processes that run such a program, without those that only print its configuration. */
export async function daemonsOf(
  root: string,
  isWanted: (program: string) => boolean,
): Promise<readonly number[]> {
  const found = await Promise.all(
    (await listPids(root)).map(async (pid) => {
      const program = await readlink(join(root, `/proc/${pid}/exe`)).catch(() => '');
      if (!isWanted(program)) return [];
      const cmdline = await readFile(join(root, `/proc/${pid}/cmdline`), 'utf8').catch(() => '');
      return cmdline.split('\0').includes('config') ? [] : pid;
    }),
  );
  return found.flat();
}

/** Resolves with the milliseconds since a process began, or with infinity if it has ended. */
export async function ageMs(root: string, pid: number): Promise<number> {
  const read = (file: string) => readFile(join(root, '/proc', file), 'utf8').catch(() => '');
  const [uptime, stat] = await Promise.all([read('uptime'), read(`${pid}/stat`)]);
  if (stat === '') return Number.POSITIVE_INFINITY;
  return (Number.parseFloat(uptime) - parseProcessStat(stat).startTicks / TICKS_PER_SECOND) * 1_000;
}

/**
 * Resolves with the bundle that a process names, as sentries and gofers do, or else works in, as shims do; containerd
 * renames it to ".ID" before it deletes it. Sources:
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/sandbox/sandbox.go (createSandboxProcess),
 * https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/bundle.go (atomicDelete)
 */
export async function bundleOf(root: string, pid: number): Promise<string> {
  const cmdline = await readFile(join(root, `/proc/${pid}/cmdline`), 'utf8').catch(() => '');
  const [, named] = /\0--bundle=([^\0]+)/.exec(cmdline) ?? [];
  if (named !== undefined) return named;
  const cwd = await readlink(join(root, `/proc/${pid}/cwd`)).catch(() => '');
  return cwd.replace(/\/\.([^/]+) \(deleted\)$/, '/$1');
}

export async function isSameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => stat(path).catch(() => undefined)));
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

/** Kills what names "/NAMESPACE/ID" (shim, sentry, gofer), but no process of a pod, which may name it too. */
export async function killBundle(root: string, bundle: string): Promise<void> {
  for (const pid of await listPids(root)) {
    const read = (file: string) => readFile(join(root, `/proc/${pid}/${file}`), 'utf8').catch(() => '');
    const cmdline = await read('cmdline');
    if (!cmdline.includes(bundle) && !(await bundleOf(root, pid)).endsWith(bundle)) continue;
    if (parseCgroups(await read('cgroup')).some((path) => podUidOf(path) !== undefined)) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {} // it has ended
  }
}
