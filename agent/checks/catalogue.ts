import type { Cri } from '../cri/cri.ts';
import type { Seen } from '../finding.ts';
import type { Host } from '../host/host.ts';
import type { Witness } from '../proof/witness.ts';
import type { RunscPrograms } from '../runsc/program.ts';
import { containerd } from './containerd.ts';
import { handlerConfigured } from './handler-configured.ts';
import { handlerCurrent } from './handler-current.ts';
import { handlerLoaded } from './handler-loaded.ts';
import { handlerRuntime } from './handler-runtime.ts';
import { isolation } from './isolation.ts';
import { kernel } from './kernel.ts';
import { limits } from './limits.ts';
import { runsc } from './runsc.ts';
import { runscConfig } from './runsc-config.ts';
import { runscRelease } from './runsc-release.ts';
import { shim } from './shim.ts';
import { sidecars } from './sidecars.ts';
import { userNamespaces } from './user-namespaces.ts';

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
  /** Whether limits that hold nobody make the node not ready. */
  readonly requireLimits: boolean;
  /** The shim that containerd was last seen to run; absent before the first proof. */
  readonly shim?: string;
  /** What the proof of this look showed; absent while it has not been made, or where it failed. */
  readonly witness?: Witness;
};

/**
 * One question asked of the node. `look` returns what it saw, or throws when it could not look;
 * the runner turns a throw into an unknown finding. `id` is the file name.
 */
export type Check = {
  readonly id: string;
  readonly title: string;
  readonly look: (sources: Sources, signal: AbortSignal) => Promise<Seen>;
  /** Whether its faults show in no sandbox, so that the node is unknown, not ready, while this check cannot look. */
  readonly guards?: (sources: Sources) => boolean;
};

/** The checks that come before the proof, causes before their effects: the first that fails names the reason. */
export const CAUSES: readonly Check[] = [
  kernel,
  userNamespaces,
  containerd,
  handlerConfigured,
  handlerLoaded,
  handlerCurrent,
  handlerRuntime,
  shim,
  runsc,
  runscConfig,
  sidecars,
];

/** The checks of what a proof showed. */
export const EVIDENCE: readonly Check[] = [isolation, limits, runscRelease];

/** Every check, in the order in which they run. */
export const CHECKS: readonly Check[] = [...CAUSES, ...EVIDENCE];
