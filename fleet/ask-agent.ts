const ANSWER_MS = 10_000;

/**
 * The answer of an agent, as long as it and its body come within 10 s and the signal is not aborted. A node that was taken
 * over cannot send us elsewhere.
 */
export function askAgent(url: string, signal?: AbortSignal): Promise<Response> {
  const late = AbortSignal.timeout(ANSWER_MS);
  return fetch(url, {
    signal: signal === undefined ? late : AbortSignal.any([signal, late]),
    redirect: 'error',
  });
}
