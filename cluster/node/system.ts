import type { RunOptions } from '../../hack/run.ts';
import type { Machine } from '../machine/machine.ts';
import type { NodeSpec } from './config.ts';

/** In start order. */
export const DAEMONS = ['containerd', 'kubelet'] as const;
export type NodeDaemon = (typeof DAEMONS)[number];

/** The PID is that inside the node. */
export type NodeProcess = { readonly pid: number; readonly argv: readonly string[] };

/** Operations on a node of either kind. Paths are paths inside the node. */
export type NodeSystem = {
  /** Starts the node on the control plane's bridge, and resolves once commands run in it. Idempotent. */
  start(controlPlane: Machine): Promise<void>;
  /** Resolves with standard output. */
  run(command: readonly string[], options?: RunOptions): Promise<string>;
  /** Returns "" if there is no such file. */
  read(inside: string): Promise<string>;
  /** Writes a file atomically, and creates its directory. */
  write(inside: string, content: string, mode: number): Promise<void>;
  /** Installs a program of the cache (mode 755) with a rename. Does nothing if it is unchanged. */
  install(source: string, inside: string): Promise<void>;
  /** Makes a program or directory of the cache available by a link or a copy. */
  provide(source: string, inside: string): Promise<void>;
  processes(): Promise<readonly NodeProcess[]>;
  /** Ignores processes that have ended. */
  kill(signal: string, pids: readonly number[]): Promise<void>;
  /** The state in /proc/PID/stat (R, S, T ...); undefined if the daemon does not run. */
  daemonState(name: NodeDaemon): Promise<string | undefined>;
  /** Idempotent. */
  startDaemon(name: NodeDaemon, spec: NodeSpec): Promise<void>;
  /** Resolves once the daemon has ended. */
  stopDaemon(name: NodeDaemon): Promise<void>;
  signalDaemon(name: NodeDaemon, signal: 'STOP' | 'CONT'): Promise<void>;
  /** A command for the host that prints a daemon's log. */
  logCommand(name: NodeDaemon | 'init', follow: boolean): readonly [string, ...string[]];
};
