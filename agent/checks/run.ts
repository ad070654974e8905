import { DeadlineError, withDeadline } from '../deadline.ts';
import { couldNotLook, type Finding, unknown } from '../finding.ts';
import type { Witness } from '../proof/witness.ts';
import type { Check } from './check.ts';
import type { Reading } from './reading.ts';

/**
 * How long one check may take, a monotonic clock in milliseconds, the signal that ends the round, and what the proof
 * of this look showed.
 */
export type RunOptions = {
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
  reading: Reading,
  options: RunOptions,
): Promise<readonly Finding[]> {
  options.signal.throwIfAborted();
  const findings = await Promise.all(checks.map((check) => runCheck(check, reading, options)));
  options.signal.throwIfAborted();
  return findings;
}

async function runCheck(check: Check, reading: Reading, options: RunOptions): Promise<Finding> {
  const { now, signal, witness, timeoutMs = TIMEOUT_MS } = options;
  const startedMs = now();
  const seen = await withDeadline(async () => check.inspect(reading, witness), { signal, timeoutMs }).catch(
    (error: unknown) =>
      error instanceof DeadlineError
        ? unknown('CheckTimedOut', `The check did not end within ${timeoutMs / 1_000} s`)
        : couldNotLook(error),
  );
  const blocking = seen.status === 'unknown' && check.required?.(reading.sources) ? { blocking: true } : {};
  return { ...seen, ...blocking, check: check.id, durationMs: now() - startedMs };
}
