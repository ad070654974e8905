import { withTimeout } from '../../base/async.ts';
import type { Witness } from '../proof/witness.ts';
import type { Check, CheckInputs } from './check.ts';
import { containerd } from './containerd.ts';
import { checkFailed, type Finding } from './finding.ts';
import { gpu } from './gpu.ts';
import { handlerConfigured } from './handler-configured.ts';
import { handlerCurrent } from './handler-current.ts';
import { handlerLoaded } from './handler-loaded.ts';
import { handlerRuntime } from './handler-runtime.ts';
import { isolation } from './isolation.ts';
import { kernel } from './kernel.ts';
import { kvm } from './kvm.ts';
import { limits } from './limits.ts';
import { network } from './network.ts';
import { runsc } from './runsc.ts';
import { runscConfig } from './runsc-config.ts';
import { runscRelease } from './runsc-release.ts';
import { shim } from './shim.ts';
import { sidecars } from './sidecars.ts';
import { userNamespaces } from './user-namespaces.ts';

/** Causes before effects: the first failure names the reason. */
export const CAUSE_CHECKS: readonly Check[] = [
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
  kvm,
];

export const EVIDENCE_CHECKS: readonly Check[] = [isolation, network, limits, runscRelease, gpu];

export const CHECKS: readonly Check[] = [...CAUSE_CHECKS, ...EVIDENCE_CHECKS];

export type RunChecksOptions = {
  /** A monotonic clock, in milliseconds. */
  readonly now: () => number;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly witness?: Witness | undefined;
};

const TIMEOUT_MS = 10_000;

/**
 * Concurrently, findings in order. A check that throws or times out is unknown; rejects only when the signal
 * is aborted.
 */
export async function runChecks(
  checks: readonly Check[],
  inputs: CheckInputs,
  options: RunChecksOptions,
): Promise<readonly Finding[]> {
  options.signal.throwIfAborted();
  const findings = await Promise.all(checks.map((check) => runCheck(check, inputs, options)));
  options.signal.throwIfAborted();
  return findings;
}

async function runCheck(check: Check, inputs: CheckInputs, options: RunChecksOptions): Promise<Finding> {
  const { now, signal, witness, timeoutMs = TIMEOUT_MS } = options;
  const startedMs = now();
  const result = await withTimeout(async () => check.inspect(inputs, witness), { signal, timeoutMs }).catch(
    checkFailed,
  );
  const blocking = result.status === 'unknown' && check.required?.(inputs.sources) ? { blocking: true } : {};
  return { ...result, ...blocking, check: check.id, durationMs: now() - startedMs };
}
