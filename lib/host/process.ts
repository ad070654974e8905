import { sanitizeLine } from '../base/sanitize.ts';
import type { Host } from './host.ts';

/** From files of /proc that need no capability. */
export type HostProcess = {
  readonly argv: readonly string[];
  readonly parentPid: number;
  /** Real user ID in the agent's user namespace. */
  readonly uid: number;
  /** From the outermost namespace visible in this /proc to its own. */
  readonly namespacedPids: readonly number[];
  /** 2 if a seccomp filter is in force. */
  readonly seccomp: number;
  /** Of cpu and memory, or the only one on v2, relative to the agent's cgroup namespace. */
  readonly cgroups: readonly string[];
  readonly textPages: number;
};

/** A sentry has its pod's annotations there, up to 256 KiB. */
export const MAX_ARGUMENT_BYTES = 512 * 1024;

/** The ID is in the bundle path of gVisor's arguments, and in the cgroup for any runtime. */
export function isOfSandbox({ argv, cgroups }: HostProcess, id: string): boolean {
  return [...argv, ...cgroups].some((text) => text.includes(id));
}

/** Sanitized, because a pod may choose it. */
export function quotedProgram([program = '']: readonly string[]): string {
  return `"${sanitizeLine(program.slice(0, 100))}"`;
}

/**
 * Undefined if it has ended or is ending. The kernel flags an ending process before it drops memory, cgroups
 * and namespaces, so the flag is read last. Source:
 * https://man7.org/linux/man-pages/man5/proc_pid_status.5.html, proc_pid_cgroup(5), proc_pid_statm(5),
 * proc_pid_stat(5), and https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c (do_exit)
 */
export async function readProcess(host: Host, pid: number): Promise<HostProcess | undefined> {
  const read = (file: string, maxBytes?: number) => host.readText(`/proc/${pid}/${file}`, maxBytes);
  const [cmdline, status, cgroup, statm] = await Promise.all([
    read('cmdline', MAX_ARGUMENT_BYTES),
    read('status'),
    read('cgroup'),
    read('statm'),
  ]);
  if (!cmdline || status === undefined || cgroup === undefined) return undefined;
  if (parseProcessStat((await read('stat')) ?? '').ending) return undefined;
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

/** https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h */
const PF_EXITING = 0x4;
const PF_KTHREAD = 0x20_0000;

/** A process as /proc/PID/stat shows it. */
export type ProcessStat = {
  /** The program's name, cut to 15 characters, or the process's own choice. */
  readonly name: string;
  /** R running, S sleeping, D in a call of the kernel, T stopped, t traced, Z ended. */
  readonly state: string;
  readonly parentPid: number;
  readonly ending: boolean;
  readonly kernelThread: boolean;
  /** Clock ticks since boot; with the PID it names one process for ever. */
  readonly startTicks: number;
};

export function parseProcessStat(text: string): ProcessStat {
  // The second field is a name in brackets that may contain spaces and brackets.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const flags = Number(fields[6] ?? PF_EXITING);
  return {
    name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')),
    state: fields[0] ?? '',
    parentPid: Number(fields[1]),
    ending: (flags & PF_EXITING) !== 0,
    kernelThread: (flags & PF_KTHREAD) !== 0,
    startTicks: Number(fields[19]),
  };
}

/** The paths of the two v1 controllers, otherwise the v2 path. */
export function parseCgroups(text: string): readonly string[] {
  const lines = text.split('\n').flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return controllers === undefined || path === undefined ? [] : [{ controllers, path }];
  });
  const v1 = lines.filter(({ controllers }) => /(^|,)(cpu|memory)(,|$)/.test(controllers));
  const chosen = v1.length > 0 ? v1 : lines.filter(({ controllers }) => controllers === '');
  return [...new Set(chosen.map(({ path }) => path))];
}

/** In the form of either cgroup driver. A static pod's UID has no dashes. */
const POD = /(?:^|[/-])pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:[./]|$)/;

/** Undefined outside of all pods. */
export function podUidOf(cgroup: string): string | undefined {
  return POD.exec(cgroup)?.[1]?.replaceAll('_', '-');
}
