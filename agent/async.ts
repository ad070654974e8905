import timers from 'node:timers/promises';

/**
 * Waits for a promise, but no longer than that, and gives what it came to; undefined where time was up or the signal
 * aborted first. Nothing stays behind that would keep the process alive.
 */
export async function waitUpTo<T>(
  promise: Promise<T>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  const pause = timers.setTimeout(timeoutMs, undefined, { signal: either }).catch(() => undefined);
  try {
    return await Promise.race([promise, pause]);
  } finally {
    done.abort();
  }
}

/** Does something for each of many, some of them at a time; the results are in the order of the many. */
export async function pooledMap<T, R>(
  many: readonly T[],
  concurrency: number,
  work: (one: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < many.length; at = next++) results[at] = await work(many[at] as T);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, many.length) }, worker));
  return results;
}

/** Work did not end in time; `message` says within what. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
}

/**
 * The result of some work, whose signal is aborted with the given one, and at the end. Rejects at once when time is up, with
 * a {@link TimeoutError}, or when the signal is aborted: work that does not heed its signal is left behind, unheard.
 */
export async function withTimeout<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<T> {
  const end = new AbortController();
  const either = AbortSignal.any([signal, end.signal]);
  const late = timers.setTimeout(timeoutMs, undefined, { signal: either }).then(() => {
    end.abort(new TimeoutError(`no end within ${timeoutMs / 1_000} s`));
    throw end.signal.reason;
  });
  try {
    return await Promise.race([work(either), late]);
  } finally {
    end.abort();
  }
}

/** What is made anew at most once in so many milliseconds: pods may ask as often as they like, and making takes the loop's time. */
export function memoize<T>(make: () => T, ttlMs: number): () => T {
  let last: { readonly value: T; readonly madeMs: number } | undefined;
  return () => {
    const nowMs = performance.now();
    if (last === undefined || nowMs - last.madeMs >= ttlMs) last = { value: make(), madeMs: nowMs };
    return last.value;
  };
}
