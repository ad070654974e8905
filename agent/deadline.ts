import timers from 'node:timers/promises';

/** Work did not end in time; `message` says within what. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/**
 * The result of some work, whose signal is aborted with the given one, and at the end. Rejects at once when time is up, with
 * a {@link DeadlineError}, or when the signal is aborted: work that does not heed its signal is left behind, unheard.
 */
export async function withDeadline<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<T> {
  const end = new AbortController();
  const either = AbortSignal.any([signal, end.signal]);
  const late = timers.setTimeout(timeoutMs, undefined, { signal: either }).then(() => {
    end.abort(new DeadlineError(`no end within ${timeoutMs / 1_000} s`));
    throw end.signal.reason;
  });
  try {
    return await Promise.race([work(either), late]);
  } finally {
    end.abort();
  }
}
