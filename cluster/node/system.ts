import type { RunOptions } from '../../hack/run.ts';
import type { Machine } from '../machine/machine.ts';
import type { NodeSpec } from './config.ts';

/** The daemons of a node, in the order they start. */
export const DAEMONS = ['containerd', 'kubelet'] as const;
/** See {@link DAEMONS}. */
export type NodeDaemon = (typeof DAEMONS)[number];

/** A process of a node: its PID there and its arguments. */
export type NodeProcess = { readonly pid: number; readonly argv: readonly string[] };

/**
 * What the operating system of a node can do, whatever the node is made of: all that installs a node, breaks it and
 * heals it goes through this. Paths are those inside of the node; its folders must be there unless told.
 */
export type NodeSystem = {
  /** Starts the node, plugged into the bridge of `controlPlane`, and resolves once commands run in it. Harmless when it runs. */
  start(controlPlane: Machine): Promise<void>;
  /** Runs a program in the node to its end and gives its standard output. */
  run(command: readonly string[], options?: RunOptions): Promise<string>;
  /** The text of a file; "" where there is none. */
  read(inside: string): Promise<string>;
  /** Writes a file, with its folders, so that a reader sees the old content or the new. */
  write(inside: string, content: string, mode: number): Promise<void>;
  /** Puts a program of the cache in place (mode 755) by a rename, unless the same one is there. */
  install(source: string, inside: string): Promise<void>;
  /** Makes a program or a folder of the cache available at a path of the node. */
  provide(source: string, inside: string): Promise<void>;
  /** All processes. */
  processes(): Promise<readonly NodeProcess[]>;
  /** Sends a signal to processes, of which some may have ended. */
  kill(signal: string, pids: readonly number[]): Promise<void>;
  /** The state of a daemon as /proc/PID/stat has it (R, S, T ...); undefined when it does not run. */
  daemonState(name: NodeDaemon): Promise<string | undefined>;
  /** Starts a daemon; harmless when it runs. */
  startDaemon(name: NodeDaemon, spec: NodeSpec): Promise<void>;
  /** Ends a daemon and waits until it is gone. */
  stopDaemon(name: NodeDaemon): Promise<void>;
  /** Stops a daemon in its tracks, or lets it go on. */
  signalDaemon(name: NodeDaemon, signal: 'STOP' | 'CONT'): Promise<void>;
  /** The command of the host that prints the log of a daemon, to its end or (`follow`) for good. */
  logCommand(name: NodeDaemon | 'init', follow: boolean): readonly [string, ...string[]];
};
