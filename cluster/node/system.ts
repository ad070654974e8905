import type { RunOptions } from '../../hack/run.ts';
import type { Machine, MachineProcess } from '../machine/machine.ts';

/** Start order. */
export const DAEMONS = ['containerd', 'kubelet'] as const;
export type NodeDaemon = (typeof DAEMONS)[number];

/** Paths are inside the node, of either kind. */
export type NodeSystem = {
  /** Resolves once commands run in the node, which has no network without a control plane. Idempotent. */
  start(controlPlane: Machine | undefined): Promise<void>;
  /** Resolves with standard output. */
  run(command: readonly string[], options?: RunOptions): Promise<string>;
  /** Returns "" if there is no such file. */
  read(inside: string): Promise<string>;
  /** Atomic; creates the directory. */
  write(inside: string, content: string, mode: number): Promise<void>;
  /** A program of the cache, mode 755, is renamed into place. Does nothing if it is unchanged. */
  install(source: string, inside: string): Promise<void>;
  /** Links or copies a program or directory of the cache. */
  provide(source: string, inside: string): Promise<void>;
  processes(): Promise<readonly MachineProcess[]>;
  /** Ignores processes that have ended. */
  kill(signal: string, pids: readonly number[]): Promise<void>;
  /** R, S, T ... of /proc/PID/stat; undefined if the daemon does not run. */
  daemonState(name: NodeDaemon): Promise<string | undefined>;
  /** Idempotent. */
  startDaemon(name: NodeDaemon): Promise<void>;
  /** Resolves once the daemon has ended. */
  stopDaemon(name: NodeDaemon): Promise<void>;
  signalDaemon(name: NodeDaemon, signal: 'STOP' | 'CONT'): Promise<void>;
};
