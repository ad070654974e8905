import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, REPO } from '../../hack/paths.ts';
import { type RunOptions, run, runAll, waitFor } from '../../hack/run.ts';
import { cgroupPath, createCgroup } from './cgroups.ts';
import { endProcesses, hasEnded, processesOf } from './processes.ts';

const INIT = join(REPO, 'cluster/machine/machine-init.sh');

/** Joins the cgroups before `--` and executes the command after it. */
const JOIN_CGROUPS = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';

/** Options of unshare and nsenter. */
const NAMESPACES = ['--mount', '--pid', '--net', '--uts', '--ipc', '--cgroup'];

/** PATH inside a machine. */
export const MACHINE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Namespaces, with an overlay of the host's root and its own cgroup root. It ends with its first process, whose
 * arguments name the machine's directory. A machine that only holds qemu shares the network of its parent.
 */
export class Machine {
  readonly name: string;
  /** Files and logs, on the host. */
  readonly dir: string;

  readonly #network: 'own' | 'parent';

  constructor(name: string, dir: string, network: 'own' | 'parent' = 'own') {
    this.name = name;
    this.dir = dir;
    this.#network = network;
  }

  /** A PID of the host; undefined if the machine is off. */
  pid(): number | undefined {
    return processesOf(this.dir).find((found) => found.init)?.pid;
  }

  #up(): number {
    const pid = this.pid();
    if (pid === undefined) throw new Error(`The machine "${this.name}" is not running`);
    return pid;
  }

  /** The path on the host. */
  path(inside: string): string {
    return `/proc/${this.#up()}/root${inside}`;
  }

  /** Ends with the PID namespace of `parent`. Idempotent. */
  async start(parent?: Machine): Promise<void> {
    const booting = this.pid() === undefined ? await this.#boot(parent) : undefined;
    const log = join(this.dir, 'init.log');
    const outcome = await waitFor(
      `the machine "${this.name}" to start (see ${log})`,
      20_000,
      async () => {
        const pid = this.pid();
        if (pid !== undefined && existsSync(`/proc/${pid}/root/run/machine-ready`)) return 'up';
        const isOver = (booting?.exitCode ?? booting?.signalCode ?? null) !== null;
        return isOver && 'ended';
      },
      10,
    );
    if (outcome === 'up') return;
    const said = readFileSync(log, 'utf8').trim().split('\n').at(-1);
    throw new Error(`The machine "${this.name}" ended while it started: ${said} (see ${log})`);
  }

  /** Returns a process that ends with the machine's first process. */
  async #boot(parent: Machine | undefined): Promise<ChildProcess> {
    mkdirSync(this.dir, { recursive: true });
    mkdirSync(CACHE, { recursive: true });
    const cgroup = cgroupPath(this.dir);
    const cgroups = await createCgroup(cgroup);
    const own = this.#network === 'own';
    const entered = own ? ['--pid'] : ['--pid', '--net'];
    const enter = parent === undefined ? [] : ['nsenter', `--target=${parent.#up()}`, ...entered, '--'];
    const join = ['/bin/sh', '-c', JOIN_CGROUPS, 'join', ...cgroups, '--'];
    const namespaces = NAMESPACES.filter((namespace) => own || namespace !== '--net');
    const unshare = ['unshare', '--fork', ...namespaces, '--kill-child=SIGKILL'];
    const init = ['/bin/sh', INIT, this.dir, this.name, cgroup, CACHE, REPO];
    return this.#detach([...enter, ...join, ...unshare, ...init], 'init');
  }

  async stop(): Promise<void> {
    await endProcesses(this.dir);
  }

  #detach(argv: readonly string[], log: string): ChildProcess {
    const [command = '', ...args] = argv;
    const fd = openSync(join(this.dir, `${log}.log`), 'a');
    const child = spawn(command, args, {
      stdio: ['ignore', fd, fd],
      detached: true,
      cwd: '/',
      env: { PATH: MACHINE_PATH, HOME: '/root', LANG: 'C.UTF-8' },
    });
    child.on('error', () => {}); // the caller's timeout reports it
    child.unref();
    closeSync(fd);
    return child;
  }

  /** Arguments of nsenter. */
  enter(...command: readonly string[]): string[] {
    return [`--target=${this.#up()}`, ...NAMESPACES, '--', ...command];
  }

  run(command: readonly string[], options: RunOptions = {}): Promise<string> {
    return run('nsenter', this.enter(...command), { env: { PATH: MACHINE_PATH, HOME: '/root' }, ...options });
  }

  /** Logs to `<dir>/<name>.log`. Resolves once the daemon runs. */
  async daemon(
    name: string,
    command: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const known = this.path(`/run/daemons/${name}`);
    rmSync(known, { force: true });
    const script = `echo $$ >/run/daemons/${name}; . /run/join-cgroup; exec "$@"`;
    const vars = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    this.#detach(
      ['nsenter', ...this.enter('env', ...vars, 'setsid', '-f', '/bin/sh', '-c', script, name, ...command)],
      name,
    );
    const begun = async () => (existsSync(known) ? true : undefined);
    await waitFor(`${name} to start (see ${join(this.dir, `${name}.log`)})`, 10_000, begun, 5);
  }

  /** The PID in the machine; undefined if the daemon has ended. */
  daemonPid(name: string): number | undefined {
    const root = `/proc/${this.#up()}/root`;
    try {
      const pid = Number(readFileSync(`${root}/run/daemons/${name}`, 'utf8'));
      return hasEnded(readFileSync(`${root}/proc/${pid}/stat`, 'utf8')) ? undefined : pid;
    } catch {
      return undefined;
    }
  }

  /** Does nothing if the daemon has ended. */
  async signal(name: string, signal: 'TERM' | 'KILL' | 'STOP' | 'CONT'): Promise<void> {
    const pid = this.daemonPid(name);
    if (pid !== undefined) await this.kill(signal, [pid]);
  }

  /** PIDs in the machine; those that have ended are ignored. */
  async kill(signal: string, pids: readonly number[]): Promise<void> {
    // Uses the host's files, so that it works on a broken machine.
    const script = `kill -${signal} ${pids.join(' ')}`;
    await runAll('nsenter', [`--target=${this.#up()}`, '--pid', '--', '/bin/sh', '-c', script]);
  }

  /** Resolves once the daemon has ended; sends KILL after 5 s. */
  async stopDaemon(name: string, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
    await this.signal(name, signal);
    await this.signal(name, 'CONT');
    const gone = async () => (this.daemonPid(name) === undefined ? true : undefined);
    await waitFor(`${name} to end`, 5_000, gone, 20).catch(async () => {
      await this.signal(name, 'KILL');
      await waitFor(`${name} to end`, 10_000, gone, 20);
    });
  }
}

/** The PID is that inside the machine. */
export type MachineProcess = { readonly pid: number; readonly argv: readonly string[] };

/** Includes processes of containers and of nested machines. */
export function processesIn(machine: Machine): MachineProcess[] {
  const proc = machine.path('/proc');
  return readdirSync(proc)
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const argv = readFileSync(`${proc}/${entry}/cmdline`, 'utf8').split('\0').slice(0, -1);
        return [{ pid: Number(entry), argv }];
      } catch {
        return []; // it has ended
      }
    });
}

/** The state in /proc/PID/stat (R, S, T ...); undefined if there is no such process. */
export function stateIn(machine: Machine, pid: number | undefined): string | undefined {
  if (pid === undefined) return undefined;
  try {
    return readFileSync(machine.path(`/proc/${pid}/stat`), 'utf8').replace(/^.*\) /s, '')[0];
  } catch {
    return undefined;
  }
}
