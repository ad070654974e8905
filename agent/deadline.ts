/** Work did not end in time; `message` says within what. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/**
 * The result of some work, whose signal is aborted when time is up or when the given signal is. Rejects then at once, with
 * a {@link DeadlineError} or the signal's own reason: work that does not heed its signal is left behind, unheard.
 */
export async function withDeadline<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<T> {
  const deadline = new AbortController();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const end = (reason: unknown) => {
    reject(reason);
    deadline.abort(reason);
  };
  const stop = () => end(signal.reason);
  const timer = setTimeout(() => end(new DeadlineError(`no end within ${timeoutMs / 1_000} s`)), timeoutMs);
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    return await Promise.race([work(deadline.signal), ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}
