import type { Check } from './check.ts';
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

/** The checks that run beside the proof, causes before their effects: the first that fails names the reason. */
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

/** Every check, in the order in which they are shown. */
export const CHECKS: readonly Check[] = [...CAUSES, ...EVIDENCE];
