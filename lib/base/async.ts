import timers from 'node:timers/promises';
import { errorLine } from './sanitize.ts';

export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
}

/**
 * Rejects with a {@link TimeoutError}, or with the signal's reason. The work's own signal is aborted in both cases;
 * work that ignores it is abandoned.
 */
export async function withTimeout<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<T> {
  const end = new AbortController();
  const either = AbortSignal.any([signal, end.signal]);
  const timeout = timers.setTimeout(timeoutMs, undefined, { signal: either }).then(() => {
    end.abort(new TimeoutError(`timed out after ${timeoutMs / 1_000} s`));
    throw end.signal.reason;
  });
  try {
    return await Promise.race([work(either), timeout]);
  } finally {
    end.abort();
  }
}

/** Resolves with undefined on a timeout, which is no error, and when the signal is aborted. Leaves no timer behind. */
export async function waitUpTo<T>(
  promise: Promise<T>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  const timeout = timers.setTimeout(timeoutMs, undefined, { signal: either }).catch(() => undefined);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    done.abort();
  }
}

/** Bounded concurrency; results keep input order. */
export async function pooledMap<T, R>(
  inputs: readonly T[],
  concurrency: number,
  work: (input: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < inputs.length; index = next++)
      results[index] = await work(inputs[index] as T);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, inputs.length) }, worker));
  return results;
}

/** Minimum rest after a turn of {@link repeat}, as a multiple of its duration, which pods determine. */
const REST_RATIO = 20;

/**
 * Runs `work` every `everyMs` until the signal is aborted, less often if it takes long, but at least every
 * `maxRestMs`, and at once after the signal that `wake` returned before. `onProblem` receives the error of a turn if
 * its text is new.
 */
export async function repeat(
  work: () => Promise<void>,
  options: {
    readonly everyMs: number;
    readonly maxRestMs: number;
    readonly signal: AbortSignal;
    readonly wake?: () => AbortSignal;
    readonly onProblem: (line: string) => void;
  },
): Promise<void> {
  const { everyMs, maxRestMs, signal, wake, onProblem } = options;
  let problem = '';
  while (!signal.aborted) {
    const begunMs = performance.now();
    const woken = wake === undefined ? signal : AbortSignal.any([signal, wake()]);
    try {
      await work();
      problem = '';
    } catch (error) {
      if (signal.aborted) return;
      const line = errorLine(error);
      if (line !== problem) onProblem(line);
      problem = line;
    }
    const restMs = Math.max(everyMs, Math.min(REST_RATIO * (performance.now() - begunMs), maxRestMs));
    await timers.setTimeout(restMs, undefined, { signal: woken }).catch(() => {});
  }
}

/** The request rate must not drive CPU. */
export function memoize<T>(make: () => T, ttlMs: number, now = () => performance.now()): () => T {
  let last: { readonly value: T; readonly madeMs: number } | undefined;
  return () => {
    const nowMs = now();
    if (last === undefined || nowMs - last.madeMs >= ttlMs) last = { value: make(), madeMs: nowMs };
    return last.value;
  };
}
