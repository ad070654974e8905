import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import timers from 'node:timers/promises';
import type { Host } from '../host/host.ts';
import { isAbsent } from '../host/paths.ts';
import { MAX_ARGUMENT_BYTES, type ProcessStat, parseCgroups, parseProcessStat } from '../host/process.ts';
import { sentryFlags } from '../runsc/flags.ts';

type HostProcess = {
  readonly pid: number;
  readonly startTicks: number;
  /** R running, S sleeping, D in a call of the kernel, T stopped. */
  readonly state: string;
};

/** A shim of containerd's, gVisor's or runc's. */
export type Shim = HostProcess & {
  /** Of the sandbox or container that it was started for; absent in the arguments of gVisor's shim before mid-2026. */
  readonly id?: string | undefined;
};

/** A command of runsc that a shim runs. */
export type RunscCommand = HostProcess & {
  readonly command: string;
  /** Of the sandbox or container. */
  readonly id: string;
};

/** gVisor's kernel of a sandbox. */
export type Sentry = HostProcess & {
  /** Of the sandbox, as its arguments name it. */
  readonly id: string;
  /** Of the pod whose cgroup it is in, and whose guest may have written the arguments; absent outside of all pods. */
  readonly podUid?: string | undefined;
};

/** What a scan of /proc found. */
export type SandboxProcesses = {
  readonly shims: readonly Shim[];
  readonly commands: readonly RunscCommand[];
  readonly sentries: readonly Sentry[];
  /** Clock ticks since boot. */
  readonly nowTicks: number;
};

/** USER_HZ: https://man7.org/linux/man-pages/man7/time.7.html */
export const TICKS_PER_SECOND = 100;
/** A younger process may still execute another program or move to its cgroup, so it is examined again. */
const SETTLED_TICKS = 15 * TICKS_PER_SECOND;
/** In so many scans each process is checked once for having been replaced by another of the same PID. */
const RECHECK_SCANS = 20;
/** Processes that are read before the event loop gets a turn. */
const BATCH = 64;
/** Processes of one pod that are examined in one scan: a pod may start any number that look like a sentry. */
const MAX_EXAMINED = 16;

type Found =
  | { readonly kind: 'shim'; readonly id?: string | undefined }
  | { readonly kind: 'command'; readonly id: string; readonly command: string }
  /** `runsc wait`, a child of the shim whose container it waits for. */
  | { readonly kind: 'wait'; readonly id: string; readonly shim: number }
  | { readonly kind: 'sentry'; readonly id: string; readonly podUid?: string | undefined };
type Known = {
  readonly startTicks: number;
  readonly found: Found | undefined;
  /** When it was last read. */
  state: string;
};
type Scan = {
  readonly proc: string;
  readonly nowTicks: number;
  /** Shims that containerd has recorded. */
  readonly programs: ReadonlySet<string>;
  /** How many processes of each pod were examined. */
  readonly examined: Map<string, number>;
};

/**
 * Scans /proc for the processes of sandboxes. A pod can give its own processes any name and arguments, so shims and
 * commands count only outside of all pods' cgroups and PID namespaces. Only processes that are new since the last scan
 * are examined.
 */
export class ProcessScanner {
  readonly #host: Host;
  #known = new Map<number, Known>();
  #scans = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** `programs` are the shims that containerd has recorded, for those with a name of their own. Rejects without /proc. */
  async scan(programs: ReadonlySet<string>, signal: AbortSignal): Promise<SandboxProcesses> {
    const proc = await this.#host.localPath('/proc');
    const uptime = await this.#host.readText('/proc/uptime');
    if (proc === undefined || uptime === undefined)
      throw new Error('Cannot read host file "/proc/uptime": it does not exist');
    const nowTicks = Number.parseFloat(uptime) * TICKS_PER_SECOND;
    const scan: Scan = { proc, nowTicks, programs, examined: new Map() };
    this.#scans += 1;
    const known = new Map<number, Known>();
    const [shims, commands, sentries] = [[] as Shim[], [] as RunscCommand[], [] as Sentry[]];
    const waits = new Map<number, string>();
    let read = 0;
    for (const pid of readdirSync(proc).map(Number)) {
      if (!Number.isInteger(pid)) continue;
      let now = this.#known.get(pid);
      if (this.#isDue(pid, now)) {
        if (++read % BATCH === 0) await timers.setImmediate();
        signal.throwIfAborted();
        const stat = readStat(proc, pid);
        if (stat === undefined || stat.ending || stat.state === 'Z') continue;
        if (now?.startTicks === stat.startTicks) now.state = stat.state;
        else now = await this.#examine(pid, stat, scan);
      }
      if (now === undefined) continue;
      known.set(pid, now);
      const { found, startTicks, state } = now;
      if (found === undefined) continue;
      const process = { pid, startTicks, state };
      if (found.kind === 'shim') shims.push({ ...process, id: found.id });
      else if (found.kind === 'command') commands.push({ ...process, ...found });
      else if (found.kind === 'sentry') sentries.push({ ...process, ...found });
      else waits.set(found.shim, found.id);
    }
    this.#known = known;
    return {
      shims: shims.map((shim) => ({ ...shim, id: shim.id ?? waits.get(shim.pid) })),
      commands,
      sentries,
      nowTicks,
    };
  }

  /** Whether a process is read in this scan: commands always, shims and sentries every other time, the rest now and then. */
  #isDue(pid: number, known: Known | undefined): boolean {
    const kind = known?.found?.kind;
    if (known === undefined || kind === 'command') return true;
    return (pid + this.#scans) % (kind === 'shim' || kind === 'sentry' ? 2 : RECHECK_SCANS) === 0;
  }

  /** What a process is; undefined if it is to be examined again in the next scan. */
  async #examine(pid: number, stat: ProcessStat, scan: Scan): Promise<Known | undefined> {
    const { startTicks, state } = stat;
    const found = await this.#identify(pid, stat, scan);
    if (found === 'later') return undefined;
    const isSettled = found !== undefined || scan.nowTicks - startTicks > SETTLED_TICKS;
    return isSettled ? { startTicks, found, state } : undefined;
  }

  async #identify(
    pid: number,
    { kernelThread, name, parentPid }: ProcessStat,
    { proc, programs, examined }: Scan,
  ): Promise<Found | 'later' | undefined> {
    if (kernelThread) return undefined;
    // Like "stat", the file "cgroup" waits for no disk, and for no process.
    const cgroup = await readFile(join(proc, String(pid), 'cgroup'), 'utf8').catch(() => '');
    const paths = parseCgroups(cgroup);
    const podUid = paths.map(podUidOf).find((uid) => uid !== undefined);
    if (podUid === undefined && paths.some((path) => ID.test(path))) return undefined;
    if (podUid !== undefined) {
      // Other processes of pods are not read further.
      if (!/^(exe|runsc|gvisor)/.test(name)) return undefined;
      const count = (examined.get(podUid) ?? 0) + 1;
      examined.set(podUid, count);
      if (count > MAX_EXAMINED) return 'later';
    }
    const files = await this.#host
      .readTexts(`/proc/${pid}`, ['cmdline', 'status'], MAX_ARGUMENT_BYTES)
      .catch(() => undefined);
    const argv = files?.cmdline?.replace(/\0$/, '').split('\0') ?? [];
    const id = idOf(argv);
    if (id !== undefined && sentryFlags(argv) !== undefined) return { kind: 'sentry', id, podUid };
    if (podUid !== undefined || !/^NSpid:\s+\d+$/m.test(files?.status ?? '')) return undefined;
    return parseShim(argv, programs) ?? parseCommand(argv, parentPid);
  }
}

/** The id of a sandbox or container. */
const ID = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/;

/** An id among arguments, as the whole argument. A copy, because a substring would retain all of them. */
function idOf(argv: readonly string[]): string | undefined {
  const id = argv.findLast((each) => each.length === 64 && ID.test(each));
  return id === undefined ? undefined : copyOf(id);
}

function copyOf(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** The UID in a pod's cgroup, in the form of either cgroup driver. A static pod's UID has no dashes. */
const POD = /(?:^|[/-])pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:[./]|$)/;

/** The UID of the pod that a cgroup path belongs to; undefined outside of all pods. */
export function podUidOf(cgroup: string): string | undefined {
  const uid = POD.exec(cgroup)?.[1];
  return uid === undefined ? undefined : copyOf(uid.replaceAll('_', '-'));
}

/**
 * A shim by its arguments, except for the short calls with which containerd starts and cleans up shims.
 * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/README.md
 */
function parseShim(argv: readonly string[], programs: ReadonlySet<string>): Found | undefined {
  const [program = ''] = argv;
  if (!posix.basename(program).startsWith('containerd-shim') && !programs.has(program)) return undefined;
  const isRunning =
    argv[argv.indexOf('-namespace') + 1] === 'k8s.io' && !/^(start|delete)$/.test(argv.at(-1) ?? '');
  return isRunning ? { kind: 'shim', id: argv.includes('-id') ? idOf(argv) : undefined } : undefined;
}

/** Commands that gVisor's shim runs and that end by themselves; "events --interval" does not. */
const COMMANDS = [
  ...['create', 'start', 'restore', 'kill', 'delete', 'state', 'ps', 'events', 'pause', 'resume', 'update'],
  ...['checkpoint', 'fscheckpoint'],
];

/**
 * A command of runsc: its flags in one argument each, then its name and the container's id.
 * https://github.com/google/gvisor/blob/release-20260223.0/pkg/shim/v1/runsccmd/runsc.go
 */
function parseCommand(argv: readonly string[], parentPid: number): Found | undefined {
  const at = argv.findIndex((each, index) => index > 0 && !each.startsWith('-'));
  const id = at === -1 ? undefined : idOf(argv.slice(at));
  if (id === undefined || !argv.slice(1, at).some((flag) => /^--root=.*\/k8s\.io$/.test(flag)))
    return undefined;
  if (argv[at] === 'wait') return { kind: 'wait', id, shim: parentPid };
  const command = COMMANDS.find((each) => each === argv[at]);
  const isStream = command === 'events' && argv.some((each) => each.startsWith('--interval'));
  return command === undefined || isStream ? undefined : { kind: 'command', id, command };
}

/**
 * Read synchronously: the kernel never waits for a disk here, and an asynchronous read takes six times the CPU time.
 * https://github.com/torvalds/linux/blob/v6.12/fs/proc/array.c (do_task_stat)
 */
function readStat(proc: string, pid: number): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(join(proc, String(pid), 'stat'), 'latin1'));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
