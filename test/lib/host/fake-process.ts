import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A process in /proc of a fake host. */
export type FakeProcess = {
  readonly argv: readonly string[];
  readonly parentPid?: number;
  /** From the namespace of this /proc to its own; by default only that of this /proc. */
  readonly namespacedPids?: readonly number[];
  readonly uid?: number;
  readonly seccomp?: number;
  /** Content of its file `cgroup`. */
  readonly cgroup?: string;
  readonly textPages?: number;
  /** R, S, D, T or Z. */
  readonly state?: string;
  /** Of the program's file; by default that of the first argument. */
  readonly name?: string;
  /** Clock ticks from boot. */
  readonly startTicks?: number;
  /** Supplementary groups, separated by spaces. */
  readonly groups?: string;
};

/** Pages of code of the sandbox that a fake containerd starts. */
export const TEXT_PAGES = 3272;

/** Adds a process to /proc of the host at `root`. */
export function addProcess(root: string, pid: number, process: FakeProcess): void {
  const { argv, parentPid = 1, namespacedPids = [pid], uid = 0, seccomp = 2 } = process;
  const { cgroup = '0::/\n', textPages = TEXT_PAGES, groups = '' } = process;
  const directory = join(root, 'proc', String(pid));
  const { state = 'S', startTicks = 100, name = (argv[0] ?? '').slice(0, 15) } = process;
  const status = [
    `Name:\t${name}`,
    `Pid:\t${pid}`,
    `PPid:\t${parentPid}`,
    `Uid:\t${uid}\t${uid}\t${uid}\t${uid}`,
    `Groups:\t${groups}`,
    `NSpid:\t${namespacedPids.join('\t')}`,
    `Seccomp:\t${seccomp}`,
    'Seccomp_filters:\t1',
  ];
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'cmdline'), argv.map((word) => `${word}\0`).join(''));
  writeFileSync(join(directory, 'status'), `${status.join('\n')}\n`);
  writeFileSync(join(directory, 'cgroup'), cgroup);
  writeFileSync(
    join(directory, 'stat'),
    `${pid} (${name}) ${state} ${parentPid} 1 1 0 -1 4194560 ${'0 '.repeat(12)}${startTicks} 0\n`,
  );
  writeFileSync(join(directory, 'statm'), `856953 8318 6379 ${textPages} 0 20941 0\n`);
}

export function removeProcess(root: string, pid: number): void {
  rmSync(join(root, 'proc', String(pid)), { recursive: true, force: true });
}

/** The arguments of a gVisor sandbox as runsc writes them, with these flags in force. */
export function sandboxArgv(id: string, flags: readonly string[] = ['--platform=systrap']): string[] {
  const bundle = `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}`;
  return [
    'runsc-sandbox',
    '--root=/run/containerd/runsc/k8s.io',
    `--log=${bundle}/log.json`,
    '--log-format=json',
    ...flags,
    '--log-fd=3',
    'boot',
    '--apply-caps=false',
    `--bundle=${bundle}`,
    '--controller-fd=8',
    '--network=of-the-command',
    id,
  ];
}

/** Content of `cgroup` for a sandbox: v1 with the cgroupfs driver, v2 with systemd's. */
export function cgroupOf(parent: string, id: string): string {
  if (parent.endsWith('.slice')) {
    const [root = ''] = parent.split('-');
    return `0::/${root.replace(/(\.slice)?$/, '.slice')}/${parent}/cri-containerd-${id}.scope\n`;
  }
  const path = `${parent || '/k8s.io'}/${id}`;
  return `12:freezer:/elsewhere\n5:cpu,cpuacct:${path}\n4:memory:${path}\n1:name=systemd:/elsewhere\n`;
}
