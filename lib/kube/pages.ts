import timers from 'node:timers/promises';
import type { Kube } from './client.ts';
import { KubeError } from './error.ts';

export type Page<Item> = {
  readonly items?: readonly Item[];
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
};

/** A further page is asked for again after these pauses: else one that fails would begin a list of hundreds anew. */
const PAUSES_MS = [1_000, 5_000];

/**
 * A large fleet is never in memory as a whole. `path` has no query of its own. Source:
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
 */
export async function* pagesOf<Item>(
  get: Kube['get'],
  path: string,
  query: Readonly<Record<string, string>> & { readonly limit: string },
): AsyncGenerator<Page<Item>> {
  const parameters = new URLSearchParams(query);
  for (;;) {
    const ask = () => get(`${path}?${parameters}`);
    const page = (await (parameters.has('continue') ? patiently(ask) : ask())) as Page<Item>;
    yield page;
    const next = page.metadata?.continue ?? '';
    if (next === '') return;
    parameters.set('continue', next);
  }
}

async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (const pauseMs of PAUSES_MS)
    try {
      return await ask();
    } catch (error) {
      // The token has expired, or the client may not list.
      const isFinal = error instanceof KubeError && error.status < 500 && error.status !== 429;
      const isStopped = error instanceof Error && error.name === 'AbortError';
      if (isFinal || isStopped) throw error;
      const retryAfterMs = (error instanceof KubeError && error.retryAfterMs) || 0;
      await timers.setTimeout(Math.max(pauseMs, retryAfterMs));
    }
  return ask();
}
