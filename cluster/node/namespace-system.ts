import { chmod, copyFile, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { RunOptions } from '../../hack/run.ts';
import { partial, replaceFile } from '../../hack/unfinished.ts';
import { MACHINE_PATH, type Machine, type MachineProcess, processesIn, stateIn } from '../machine/machine.ts';
import { plugIn } from '../machine/veth.ts';
import type { NodeSpec } from '../plan/nodes.ts';
import { CONTAINERD_CONFIG, kubeletCommand, LOADED_CONFIG } from './config.ts';
import { endDeadShims } from './dead-shims.ts';
import type { NodeDaemon, NodeSystem } from './system.ts';

/** The node's files are reachable from the host. */
export class NamespaceSystem implements NodeSystem {
  readonly #machine: Machine;
  readonly #spec: NodeSpec;

  constructor(machine: Machine, spec: NodeSpec) {
    this.#machine = machine;
    this.#spec = spec;
  }

  async start(controlPlane: Machine | undefined): Promise<void> {
    await this.#machine.start(controlPlane);
    if (controlPlane !== undefined) await plugIn(controlPlane, this.#machine, this.#spec);
  }

  run(command: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.#machine.run(command, options);
  }

  read(inside: string): Promise<string> {
    return readFile(this.#machine.path(inside), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
  }

  async write(inside: string, content: string, mode: number): Promise<void> {
    const path = this.#machine.path(inside);
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, content, mode);
  }

  async install(source: string, inside: string): Promise<void> {
    const target = this.#machine.path(inside);
    const seen = await stat(target).catch(() => undefined);
    if (seen !== undefined && (seen.mode & 0o777) !== 0o755) await chmod(target, 0o755);
    if (await isCopy(source, target)) return;
    await copyFile(source, partial(target));
    await chmod(partial(target), 0o755);
    await rename(partial(target), target);
  }

  async provide(source: string, inside: string): Promise<void> {
    const path = this.#machine.path(inside);
    await mkdir(dirname(path), { recursive: true });
    await rm(path, { force: true });
    await symlink(source, path);
  }

  async processes(): Promise<readonly MachineProcess[]> {
    return processesIn(this.#machine);
  }

  kill(signal: string, pids: readonly number[]): Promise<void> {
    return this.#machine.kill(signal, pids);
  }

  async daemonState(name: NodeDaemon): Promise<string | undefined> {
    return stateIn(this.#machine, this.#machine.daemonPid(name));
  }

  async startDaemon(name: NodeDaemon): Promise<void> {
    const machine = this.#machine;
    if (machine.daemonPid(name) !== undefined) return;
    // A kubelet with less garbage collection; containerd would pass that on to sandboxes.
    if (name === 'kubelet')
      return machine.daemon(name, kubeletCommand(this.#spec), { PATH: MACHINE_PATH, GOGC: '400' });
    await endDeadShims(machine);
    await copyFile(machine.path(CONTAINERD_CONFIG), machine.path(LOADED_CONFIG)).catch(() => {});
    await machine.daemon(name, ['containerd'], { PATH: MACHINE_PATH });
  }

  stopDaemon(name: NodeDaemon): Promise<void> {
    return this.#machine.stopDaemon(name);
  }

  signalDaemon(name: NodeDaemon, signal: 'STOP' | 'CONT'): Promise<void> {
    return this.#machine.signal(name, signal);
  }
}

/** Executable, and with the same content. */
async function isCopy(source: string, path: string): Promise<boolean> {
  const [wanted, seen] = await Promise.all([stat(source), stat(path).catch(() => undefined)]);
  if (seen === undefined || seen.size !== wanted.size || (seen.mode & 0o111) === 0) return false;
  const [content, copied] = await Promise.all([readFile(source), readFile(path)]);
  return content.equals(copied);
}
