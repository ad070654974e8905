import type { CriClient } from '../agent/containerd/client.ts';
import type { Distribution } from '../agent/containerd/distribution.ts';
import type { Host } from '../agent/host/host.ts';
import type { Step } from './refusal.ts';

/** The node as the installer works on it. */
export type Node = {
  /** Where the node's files are: "/" on the node itself. */
  readonly root: string;
  readonly host: Host;
  readonly client: CriClient;
  /** containerd's socket as this process reaches it. */
  readonly socket: string;
  readonly distribution: Distribution;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  readonly handler: string;
  /** For hosts without systemd: a command of the host's shell that restarts containerd. */
  readonly restartCommand: string | undefined;
  /** Writes the configuration without restarting containerd, for machine images. */
  readonly noRestart: boolean;
  /** How long to wait for a moment at which a restart of containerd disturbs no pod. */
  readonly quietMs: number;
  readonly report: (progress: Progress) => void;
};

/** One line of progress: a step that is done, was not needed, or failed. */
export type Progress = {
  readonly step: Step | 'commit' | 'undo';
  readonly state: 'pass' | 'skipped' | 'fail';
  readonly text: string;
};

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
