import type { Kube } from '../agent/kube/client.ts';

/** One page of a list of the API server. */
export type Page<Item> = {
  readonly items?: readonly Item[];
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
};

/**
 * The pages of a list, each of at most so many objects, so that a large fleet is never whole in memory. `path` carries
 * no query of its own.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
 */
export async function* pagesOf<Item>(
  get: Kube['get'],
  path: string,
  query: Readonly<Record<string, string>> & { readonly limit: string },
): AsyncGenerator<Page<Item>> {
  const words = new URLSearchParams(query);
  for (;;) {
    const page = (await get(`${path}?${words}`)) as Page<Item>;
    yield page;
    const next = page.metadata?.continue ?? '';
    if (next === '') return;
    words.set('continue', next);
  }
}
