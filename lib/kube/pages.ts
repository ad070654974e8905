import type { Kube } from './client.ts';

export type Page<Item> = {
  readonly items?: readonly Item[];
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
};

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
    const page = (await get(`${path}?${parameters}`)) as Page<Item>;
    yield page;
    const next = page.metadata?.continue ?? '';
    if (next === '') return;
    parameters.set('continue', next);
  }
}
