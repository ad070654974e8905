import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Extent, Kube, WatchEvent } from './kube.ts';
import { KubeError } from './kube-error.ts';

/** What to watch: a path of a list with its selectors as query, and who hears of it. */
export type Watched = {
  readonly kube: Kube;
  readonly path: string;
  readonly extent: Extent;
  readonly log: Logger;
  readonly hear: (event: WatchEvent) => void;
  /** Called before each watch, which begins with all that there is then; what went before it is not told. */
  readonly begin?: () => void;
};

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 120_000;
/** The API server ends a watch after about an hour, each at another moment. */
const ABOUT_AN_HOUR_S = [3_000, 4_200] as const;

/**
 * Watches until the signal ends it. Each watch begins with what there is, as ADDED (resourceVersion=0), so
 * that nothing has to be listed and a 410 costs no more than a new watch. After a refusal or a broken
 * connection it waits, longer each time and with jitter, and as long as the server asks.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch
 */
export async function keepWatching(
  { kube, path, extent, log, hear, begin }: Watched,
  signal: AbortSignal,
): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let refusedMs = 0;
    begin?.();
    try {
      for await (const event of kube.watch(withWatch(path), extent, signal)) {
        pauseMs = FIRST_PAUSE_MS;
        hear(event);
      }
    } catch (err) {
      if (signal.aborted) return;
      const asked = err instanceof KubeError ? err.retryAfterMs : undefined;
      refusedMs = asked ?? pauseMs * (0.5 + Math.random());
      pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS);
      log.warn({ err, retryInMs: Math.round(refusedMs) }, 'watch ended');
    }
    const wait = refusedMs + Math.random() * FIRST_PAUSE_MS;
    await timers.setTimeout(wait, undefined, { signal }).catch(() => {});
  }
}

function withWatch(path: string): string {
  const [shortest, longest] = ABOUT_AN_HOUR_S;
  const query = new URLSearchParams({
    watch: '1',
    allowWatchBookmarks: 'true',
    resourceVersion: '0',
    timeoutSeconds: String(Math.round(shortest + Math.random() * (longest - shortest))),
  });
  return `${path}${path.includes('?') ? '&' : '?'}${query}`;
}
