import timers from 'node:timers/promises';

/**
 * Waits for a promise, but no longer than that, and gives what it came to; undefined where time was up or the signal
 * aborted first. Nothing stays behind that would keep the process alive.
 */
export async function waitFor<T>(
  promise: Promise<T>,
  mostMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  const pause = timers.setTimeout(mostMs, undefined, { signal: either }).catch(() => undefined);
  try {
    return await Promise.race([promise, pause]);
  } finally {
    done.abort();
  }
}
