import type { CriClient } from '../../lib/containerd/client.ts';
import type { Distribution } from '../../lib/containerd/distribution.ts';
import type { Host } from '../../lib/host/host.ts';
import type { Reporter } from './progress.ts';

/** The node as the installer works on it. */
export type Node = Reporter & {
  /** "/" on the node itself. */
  readonly root: string;
  readonly host: Host;
  readonly client: CriClient;
  readonly distribution: Distribution;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  readonly handler: string;
  /** For the host's shell, on hosts without systemd. */
  readonly restartCommand: string | undefined;
  /** For machine images. */
  readonly noRestart: boolean;
};
