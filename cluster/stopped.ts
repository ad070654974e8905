/** Resolves once somebody ends this command, with Ctrl-C or a kill; the command then lives on to clean up. */
export function untilStopped(): Promise<'stopped'> {
  const { promise, resolve } = Promise.withResolvers<'stopped'>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('stopped'));
  return promise;
}
