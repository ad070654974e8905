import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE, REPO } from '../../hack/paths.ts';
import { type RunOptions, run, runAll, waitFor } from '../../hack/run.ts';
import { cgroupOf, createCgroup } from './cgroups.ts';
import { endProcesses, hasEnded, processesOf } from './machine-processes.ts';

const INIT = join(REPO, 'cluster/machine/machine-init.sh');

/** Moves the shell into cgroups given by their folders, and becomes the command after them. */
const JOIN_CGROUPS = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; exec "$@"';

/** What a program inside a machine sees as its PATH. */
export const MACHINE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * One simulated machine: mount, PID, network, UTS, IPC and cgroup namespaces of its own, with a root file
 * system that shows the host's files and keeps what is written apart, and a cgroup as the root of its own. Everything in it ends when its
 * first process does. Nothing is remembered between runs: a machine is found by its first process,
 * whose arguments name its folder. One that only holds a virtual machine shares the network of its parent.
 */
export class Machine {
  readonly name: string;
  /** The folder on the host that holds the machine's files and logs. */
  readonly dir: string;

  readonly #network: 'own' | 'parent';

  constructor(name: string, dir: string, network: 'own' | 'parent' = 'own') {
    this.name = name;
    this.dir = dir;
    this.#network = network;
  }

  /** The host's PID of the machine's first process, or undefined when the machine is off. */
  pid(): number | undefined {
    return processesOf(this.dir).find((found) => found.init)?.pid;
  }

  #up(): number {
    const pid = this.pid();
    if (pid === undefined) throw new Error(`The machine "${this.name}" is not running`);
    return pid;
  }

  /** The host's path of a file inside the machine, for reading and for writing. */
  path(inside: string): string {
    return `/proc/${this.#up()}/root${inside}`;
  }

  /** Starts the machine, inside the PID namespace of `parent` so that it ends with it. Harmless when it runs. */
  async start(parent?: Machine): Promise<void> {
    const booting = this.pid() === undefined ? await this.#boot(parent) : undefined;
    const log = join(this.dir, 'init.log');
    const started = await waitFor(
      `the machine "${this.name}" to start (see ${log})`,
      20_000,
      async () => {
        const pid = this.pid();
        if (pid !== undefined && existsSync(`/proc/${pid}/root/run/machine-ready`)) return true;
        return booting === undefined || isAlive(booting) ? undefined : false;
      },
      10,
    );
    if (started) return;
    const said = readFileSync(log, 'utf8').trim().split('\n').at(-1);
    throw new Error(`The machine "${this.name}" ended while it started: ${said} (see ${log})`);
  }

  /** Begins the first process, and gives the process that ends with it. */
  async #boot(parent: Machine | undefined): Promise<ChildProcess> {
    mkdirSync(this.dir, { recursive: true });
    mkdirSync(CACHE, { recursive: true });
    const cgroup = cgroupOf(this.dir);
    const cgroups = await createCgroup(cgroup);
    const own = this.#network === 'own';
    const entered = own ? ['--pid'] : ['--pid', '--net'];
    const enter = parent === undefined ? [] : ['nsenter', `--target=${parent.#up()}`, ...entered, '--'];
    const join = ['/bin/sh', '-c', JOIN_CGROUPS, 'join', ...cgroups, '--'];
    const namespaces = ['--pid', '--mount', ...(own ? ['--net'] : []), '--uts', '--ipc', '--cgroup'];
    const unshare = ['unshare', '--fork', ...namespaces, '--kill-child=SIGKILL'];
    const init = ['/bin/sh', INIT, this.dir, this.name, cgroup, CACHE, REPO];
    return this.#detach([...enter, ...join, ...unshare, ...init], 'init');
  }

  /** Ends every process of the machine and waits until they are gone. */
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
    child.on('error', () => {}); // the caller's deadline reports it
    child.unref();
    closeSync(fd);
    return child;
  }

  /** The words that put a command into this machine. */
  enter(...command: readonly string[]): string[] {
    return [
      `--target=${this.#up()}`,
      '--mount',
      '--pid',
      '--net',
      '--uts',
      '--ipc',
      '--cgroup',
      '--',
      ...command,
    ];
  }

  /** Runs a program inside the machine to its end. */
  run(command: readonly string[], options: RunOptions = {}): Promise<string> {
    return run('nsenter', this.enter(...command), { env: { PATH: MACHINE_PATH, HOME: '/root' }, ...options });
  }

  /** Starts a program inside the machine that stays; its output goes to `<dir>/<name>.log`. Resolves once it runs. */
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

  /** The PID, inside the machine, of a program started by {@link daemon}; undefined when it has ended. */
  daemonPid(name: string): number | undefined {
    const root = `/proc/${this.#up()}/root`;
    try {
      const pid = Number(readFileSync(`${root}/run/daemons/${name}`, 'utf8'));
      return hasEnded(readFileSync(`${root}/proc/${pid}/stat`, 'utf8')) ? undefined : pid;
    } catch {
      return undefined;
    }
  }

  /** Sends a signal to a daemon; harmless when it has ended. */
  async signal(name: string, signal: 'TERM' | 'KILL' | 'STOP' | 'CONT'): Promise<void> {
    const pid = this.daemonPid(name);
    if (pid !== undefined) await this.kill(signal, [pid]);
  }

  /** Sends a signal to processes by their PIDs inside the machine, of which some may have ended. */
  async kill(signal: string, pids: readonly number[]): Promise<void> {
    // With the host's files: this must work whatever has become of the machine's.
    const script = `kill -${signal} ${pids.join(' ')}`;
    await runAll('nsenter', [`--target=${this.#up()}`, '--pid', '--', '/bin/sh', '-c', script]);
  }

  /** Ends a daemon, by TERM (or at once by KILL) and after 5 s by KILL, and waits until it is gone. */
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

function isAlive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}
