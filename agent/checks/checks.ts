import { TimeoutError, withTimeout } from '../async.ts';
import { checkFailed, type Finding, unknown } from '../finding.ts';
import type { Witness } from '../proof/witness.ts';
import type { Check, CheckInputs } from './check.ts';
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

/**
 * How long one check may take, a monotonic clock in milliseconds, the signal that ends the round, and what the proof
 * of this look showed.
 */
export type RunChecksOptions = {
  readonly now: () => number;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly witness?: Witness | undefined;
};

const TIMEOUT_MS = 10_000;

/**
 * Runs all checks at once and returns a finding of each, in their order. A check that throws is unknown, for the
 * reason that its error stands for, and one that does not end in time too (`CheckTimedOut`); this function rejects
 * only when the signal of the round is aborted.
 */
export async function runChecks(
  checks: readonly Check[],
  reading: CheckInputs,
  options: RunChecksOptions,
): Promise<readonly Finding[]> {
  options.signal.throwIfAborted();
  const findings = await Promise.all(checks.map((check) => runCheck(check, reading, options)));
  options.signal.throwIfAborted();
  return findings;
}

async function runCheck(check: Check, reading: CheckInputs, options: RunChecksOptions): Promise<Finding> {
  const { now, signal, witness, timeoutMs = TIMEOUT_MS } = options;
  const startedMs = now();
  const inspect = async () => check.inspect(reading, witness);
  const seen = await withTimeout(() => inspect().catch(checkFailed), { signal, timeoutMs }).catch(
    (error: unknown) =>
      error instanceof TimeoutError
        ? unknown('CheckTimedOut', `The check did not end within ${timeoutMs / 1_000} s`)
        : checkFailed(error),
  );
  const blocking = seen.status === 'unknown' && check.required?.(reading.sources) ? { blocking: true } : {};
  return { ...seen, ...blocking, check: check.id, durationMs: now() - startedMs };
}
