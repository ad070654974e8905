import type { Cri } from '../cri/cri.ts';
import type { Seen } from '../finding.ts';
import type { Host } from '../host/host.ts';
import type { Witness } from '../proof/witness.ts';
import type { RunscPrograms } from '../runsc/program.ts';

/** What checks may look at: the node's files, its containerd, and what the settings ask for. */
export type Sources = {
  readonly host: Host;
  readonly cri: Cri;
  readonly handler: string;
  /** Host path of containerd's root configuration file. */
  readonly containerdConfig: string;
  readonly programs: RunscPrograms;
  /** Lowest gVisor release allowed, such as "20240325.0"; absent when there is no floor. */
  readonly minRunscRelease?: string;
  /** Whether limits that are not enforced make the node not ready. */
  readonly requireLimits: boolean;
  /** The shim that containerd was last seen to run; absent before the first proof. */
  readonly shim?: string;
  /** What the proof of this look showed; absent while it has not been made, or where it failed. */
  readonly witness?: Witness;
};

/**
 * One question about the node. `inspect` returns what it saw, or throws when it could not look; the runner turns a
 * throw into an unknown finding. `id` is the name of the file.
 */
export type Check = {
  readonly id: string;
  readonly title: string;
  readonly inspect: (sources: Sources, signal: AbortSignal) => Promise<Seen>;
  /** Whether a node is ready only if this check could look, because a sandbox does not reveal what it looks for. */
  readonly required?: (sources: Sources) => boolean;
};
