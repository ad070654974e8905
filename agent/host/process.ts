import { sanitizeLine } from '../sanitize.ts';
import type { Host } from './host.ts';

/** A process of the host, as everybody may read it: no capability is needed for these files of /proc. */
export type HostProcess = {
  readonly argv: readonly string[];
  readonly parentPid: number;
  /** Real user id, in this process' user namespace. */
  readonly uid: number;
  /** Its PIDs, from the namespace of this /proc to its own. */
  readonly namespacedPids: readonly number[];
  /** 2: a filter of system calls is in force. */
  readonly seccomp: number;
  /** Its cgroups of cpu and memory, or the only one with cgroup v2; as seen from this process' cgroup namespace. */
  readonly cgroups: readonly string[];
  /** Pages of code of its program. */
  readonly textPages: number;
};

/** A sentry has a few KiB of arguments, and as many as its pod's annotations may hold: 256 KiB. */
const MOST_ARGUMENT_BYTES = 512 * 1024;

/** Whether a process is of that sandbox: gVisor's has its bundle among its arguments, and its cgroup is named for it whatever the runtime. */
export function isOfSandbox({ argv, cgroups }: HostProcess, id: string): boolean {
  return [...argv, ...cgroups].some((text) => text.includes(id));
}

/** The program that a process calls itself, in quotes for people: a pod may have written it to deceive them. */
export function quotedProgram([program = '']: readonly string[]): string {
  return `"${sanitizeLine(program.slice(0, 100))}"`;
}

/**
 * Reads a process by its PID in the namespace of the host's /proc; undefined when it is gone, or about to be. One that ends
 * is flagged first and then loses its memory, its cgroups and its namespaces: what was read before the flags is of one that
 * lived.
 * Source: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html, proc_pid_cgroup(5), proc_pid_statm(5),
 * proc_pid_stat(5), and https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c (do_exit)
 */
export async function readProcess(host: Host, pid: number): Promise<HostProcess | undefined> {
  const read = (file: string, maxBytes?: number) => host.readText(`/proc/${pid}/${file}`, maxBytes);
  const [cmdline, status, cgroup, statm] = await Promise.all([
    read('cmdline', MOST_ARGUMENT_BYTES),
    read('status'),
    read('cgroup'),
    read('statm'),
  ]);
  if (!cmdline || status === undefined || cgroup === undefined || (await isEnding(read))) return undefined;
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
  return {
    argv: cmdline.replace(/\0$/, '').split('\0'),
    parentPid: Number(field('PPid')),
    uid: Number(field('Uid').split(/\s/)[0]),
    namespacedPids: field('NSpid').split(/\s+/).map(Number),
    seccomp: Number(field('Seccomp')),
    cgroups: parseCgroups(cgroup),
    textPages: Number(statm?.split(' ')[3] ?? Number.NaN),
  };
}

/** PF_EXITING: https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h */
const ENDING = 0x4;

async function isEnding(read: (file: string) => Promise<string | undefined>): Promise<boolean> {
  const stat = await read('stat');
  // Its second field is a name, which may have blanks and brackets in it.
  const flags = Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[6] ?? ENDING);
  return (flags & ENDING) !== 0;
}

/** The paths that limits of CPU and memory hang on: cgroup v1's of these controllers, else that of cgroup v2. */
export function parseCgroups(text: string): readonly string[] {
  const lines = text.split('\n').flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return controllers === undefined || path === undefined ? [] : [{ controllers, path }];
  });
  const v1 = lines.filter(({ controllers }) => /(^|,)(cpu|memory)(,|$)/.test(controllers));
  const chosen = v1.length > 0 ? v1 : lines.filter(({ controllers }) => controllers === '');
  return [...new Set(chosen.map(({ path }) => path))];
}
