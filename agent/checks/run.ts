import type { Finding, Seen } from '../finding.ts';
import { unknown } from '../finding.ts';
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
  const seen = await withDeadline(check, sources, { signal, timeoutMs });
  const blind = seen.status === 'unknown' && seen.reason !== 'NothingToJudge';
  const blocking = blind && check.required?.(sources) ? { blocking: true } : {};
  return { ...seen, ...blocking, check: check.id, durationMs: now() - startedMs };
}

async function withDeadline(
  check: Check,
  sources: Sources,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<Seen> {
  const deadline = new AbortController();
  const timedOut = Promise.withResolvers<Seen>();
  const stop = () => {
    deadline.abort(signal.reason);
    timedOut.resolve(unknown('CheckFailed', 'The round was stopped'));
  };
  const timer = setTimeout(() => {
    timedOut.resolve(unknown('CheckTimedOut', `The check did not end within ${timeoutMs} ms`));
    deadline.abort(new Error(`no end within ${timeoutMs} ms`));
  }, timeoutMs);
  signal.addEventListener('abort', stop, { once: true });
  try {
    // A check that does not heed its signal is left behind: what it says later is not heard.
    return await Promise.race([timedOut.promise, inspect(check, sources, deadline.signal)]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

async function inspect(check: Check, sources: Sources, signal: AbortSignal): Promise<Seen> {
  try {
    return await check.inspect(sources, signal);
  } catch (error) {
    return unknown(reasonForError(error), errorLine(error));
  }
}
