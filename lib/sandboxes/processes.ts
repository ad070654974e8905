import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import timers from 'node:timers/promises';
import type { Host } from '../host/host.ts';
import { isAbsent } from '../host/paths.ts';
import {
  MAX_ARGUMENT_BYTES,
  type ProcessStat,
  parseCgroups,
  parseProcessStat,
  podUidOf,
} from '../host/process.ts';
import { sentryFlags } from '../runsc/flags.ts';
import type { Bundle } from './bundles.ts';

type HostProcess = {
  readonly pid: number;
  readonly startTicks: number;
  /** R running, S sleeping, D in a call of the kernel, T stopped. */
  readonly state: string;
};

/** A shim of containerd's, gVisor's or runc's. */
export type Shim = HostProcess & {
  /** Absent in the arguments of gVisor's shim before mid-2026. */
  readonly id?: string | undefined;
};

export type Sentry = HostProcess & {
  /** Of the sandbox, as its arguments name it. */
  readonly id: string;
};

/** Runs for a shim; `id` may also be a container's. */
export type RunscCommand = Sentry & { readonly command: string };

export type SandboxProcesses = {
  readonly shims: readonly Shim[];
  readonly commands: readonly RunscCommand[];
  readonly sentries: readonly Sentry[];
  /** Clock ticks since boot. */
  readonly nowTicks: number;
};

/** USER_HZ: https://man7.org/linux/man-pages/man7/time.7.html */
export const TICKS_PER_SECOND = 100;
/** A younger process may still execute another program or change its cgroup, so it is examined again. */
const SETTLED_TICKS = 15 * TICKS_PER_SECOND;
/** Each process is checked for a reused PID once in so many scans. */
const RECHECK_SCANS = 20;
/** The event loop gets a turn in between. */
const BATCH = 64;
/** One pod may start any number of processes that look like a sentry. */
const MAX_EXAMINED = 16;
const INIT = 1;

type Found =
  | { readonly kind: 'shim'; readonly id?: string | undefined; readonly isGvisor: boolean }
  | { readonly kind: 'command'; readonly id: string; readonly command: string }
  /** A child of the shim whose container it waits for. */
  | { readonly kind: 'wait'; readonly id: string; readonly shim: number }
  /** By its arguments, which a pod may have written. */
  | { readonly kind: 'sentry'; readonly id: string };
type Known = {
  readonly startTicks: number;
  readonly found: Found | undefined;
  /** When it was last read. */
  state: string;
  parentPid: number;
  /** The number of the last scan that saw it. */
  seen: number;
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
 * A pod can give its processes any name and arguments, so shims and commands count only outside of all pods'
 * cgroups and PID namespaces. A sentry counts only as the child of such a shim of gVisor, which adopts it, or
 * of PID 1 once that shim has ended; a pod's own process has another parent. Only new processes are examined.
 */
export class ProcessScanner {
  readonly #host: Host;
  /** Changed in place: a new map for each scan of thousands of processes is a collection of the heap each time. */
  readonly #known = new Map<number, Known>();
  #scans = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** `bundles` tell of shims with a name of their own. Rejects without /proc. */
  async scan(
    bundles: ReadonlyMap<string, Pick<Bundle, 'program' | 'shimPid'>>,
    signal: AbortSignal,
  ): Promise<SandboxProcesses> {
    const proc = await this.#host.localPath('/proc');
    const uptime = await this.#host.readText('/proc/uptime');
    if (proc === undefined || uptime === undefined)
      throw new Error('Cannot read host file "/proc/uptime": it does not exist');
    const nowTicks = Number.parseFloat(uptime) * TICKS_PER_SECOND;
    const programs = new Set([...bundles.values()].flatMap(({ program }) => program ?? []));
    const scan: Scan = { proc, nowTicks, programs, examined: new Map() };
    this.#scans += 1;
    const [shims, commands] = [[] as Shim[], [] as RunscCommand[]];
    const alleged: { readonly sentry: Sentry; readonly parent: number }[] = [];
    const areGvisors = new Map<number, boolean>();
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
        const { state, parentPid } = stat;
        if (now?.startTicks === stat.startTicks) Object.assign(now, { state, parentPid });
        else now = await this.#examine(pid, stat, scan);
      }
      if (now === undefined) continue;
      now.seen = this.#scans;
      this.#known.set(pid, now);
      const { found, startTicks, state } = now;
      if (found === undefined) continue;
      const process = { pid, startTicks, state };
      if (found.kind === 'shim') {
        shims.push({ ...process, id: found.id });
        areGvisors.set(pid, found.isGvisor);
      } else if (found.kind === 'command') commands.push({ ...process, ...found });
      else if (found.kind === 'sentry')
        alleged.push({ sentry: { ...process, id: found.id }, parent: now.parentPid });
      else waits.set(found.shim, found.id);
    }
    for (const [pid, { seen }] of this.#known) if (seen !== this.#scans) this.#known.delete(pid);
    // A shim with its own name is gVisor's if it recorded its PID, as runc's does not.
    const isSentry = ({ sentry: { id }, parent }: (typeof alleged)[number]) =>
      parent === INIT ||
      areGvisors.get(parent) ||
      (areGvisors.has(parent) && bundles.get(id)?.shimPid === parent);
    return {
      shims: shims.map((shim) => ({ ...shim, id: shim.id ?? waits.get(shim.pid) })),
      commands,
      sentries: alleged.filter(isSentry).map(({ sentry }) => sentry),
      nowTicks,
    };
  }

  /** Commands always, shims and sentries every other time, the rest now and then. */
  #isDue(pid: number, known: Known | undefined): boolean {
    const kind = known?.found?.kind;
    if (known === undefined || kind === 'command') return true;
    return (pid + this.#scans) % (kind === 'shim' || kind === 'sentry' ? 2 : RECHECK_SCANS) === 0;
  }

  /** Undefined if it is to be examined again. */
  async #examine(pid: number, stat: ProcessStat, scan: Scan): Promise<Known | undefined> {
    const { startTicks, state, parentPid } = stat;
    const found = await this.#identify(pid, stat, scan);
    if (found === 'later') return undefined;
    const isSettled = found !== undefined || scan.nowTicks - startTicks > SETTLED_TICKS;
    return isSettled ? { startTicks, found, state, parentPid, seen: this.#scans } : undefined;
  }

  async #identify(
    pid: number,
    { kernelThread, name, parentPid }: ProcessStat,
    { proc, programs, examined }: Scan,
  ): Promise<Found | 'later' | undefined> {
    if (kernelThread) return undefined;
    // The file "cgroup" waits for no disk and no process.
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
    if (id !== undefined && sentryFlags(argv) !== undefined) return { kind: 'sentry', id };
    if (podUid !== undefined || !/^NSpid:\s+\d+$/m.test(files?.status ?? '')) return undefined;
    return parseShim(argv, programs) ?? parseCommand(argv, parentPid);
  }
}

const ID = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/;

/** A copy, because a substring would retain all arguments. */
function idOf(argv: readonly string[]): string | undefined {
  const id = argv.findLast((each) => each.length === 64 && ID.test(each));
  return id === undefined ? undefined : Buffer.from(id, 'latin1').toString('latin1');
}

/**
 * Not the short calls that start and clean up shims.
 * https://github.com/containerd/containerd/blob/v2.4.2/core/runtime/v2/README.md
 */
function parseShim(argv: readonly string[], programs: ReadonlySet<string>): Found | undefined {
  const [program = ''] = argv;
  const name = posix.basename(program);
  if (!name.startsWith('containerd-shim') && !programs.has(program)) return undefined;
  const isRunning =
    argv[argv.indexOf('-namespace') + 1] === 'k8s.io' && !/^(start|delete)$/.test(argv.at(-1) ?? '');
  if (!isRunning) return undefined;
  const id = argv.includes('-id') ? idOf(argv) : undefined;
  return { kind: 'shim', id, isGvisor: name.startsWith('containerd-shim-runsc-') };
}

/** Those that end by themselves; "events --interval" does not. */
const COMMANDS =
  'create start restore kill delete state ps events pause resume update checkpoint fscheckpoint'.split(' ');

/**
 * Flags in one argument each, then the command's name and the container's id.
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
 * Synchronous and UTF-8: the kernel never waits for a disk here, an asynchronous read takes thirty times the CPU
 * time, and Node reads no other encoding in one call.
 * https://github.com/torvalds/linux/blob/v6.12/fs/proc/array.c (do_task_stat)
 */
function readStat(proc: string, pid: number): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(join(proc, String(pid), 'stat'), 'utf8'));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
