import { DeadlineError, withDeadline } from '../deadline.ts';
import { type Finding, unknown } from '../finding.ts';
import { errorLine } from '../host/error-line.ts';
import { reasonForError } from '../reason-for-error.ts';
import type { Check, Sources } from './check.ts';

/** How long one check may take, a monotonic clock in milliseconds, and the signal that ends the round. */
export type RunOptions = {
  readonly now: () => number;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
};

const TIMEOUT_MS = 10_000;

/**
 * Runs all checks at once and returns a finding of each, in their order. A check that throws is unknown, for the
 * reason that its error stands for, and one that does not end in time too (`CheckTimedOut`); this function rejects
 * only when the signal of the round is aborted.
 */
export async function runChecks(
  checks: readonly Check[],
  sources: Sources,
  options: RunOptions,
): Promise<readonly Finding[]> {
  options.signal.throwIfAborted();
  const findings = await Promise.all(checks.map((check) => runCheck(check, sources, options)));
  options.signal.throwIfAborted();
  return findings;
}

async function runCheck(check: Check, sources: Sources, options: RunOptions): Promise<Finding> {
  const { now, signal, timeoutMs = TIMEOUT_MS } = options;
  const startedMs = now();
  const seen = await withDeadline((inner) => check.inspect(sources, inner), { signal, timeoutMs }).catch(
    (error: unknown) =>
      error instanceof DeadlineError
        ? unknown('CheckTimedOut', `The check did not end within ${timeoutMs / 1_000} s`)
        : unknown(reasonForError(error), errorLine(error)),
  );
  const blocking = seen.status === 'unknown' && check.required?.(sources) ? { blocking: true } : {};
  return { ...seen, ...blocking, check: check.id, durationMs: now() - startedMs };
}
