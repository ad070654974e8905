import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { Backoff } from './backoff.ts';
import type { Kube, WatchEvent } from './client.ts';

/** What to watch: a path of a list with its selectors as query, and who hears of each object's metadata. */
export type Watched = {
  readonly kube: Kube;
  readonly path: string;
  readonly log: Logger;
  readonly onEvent: (event: WatchEvent) => void;
  /** Gives the version that a watch goes on from; without it each begins with all that there is, as ADDED. */
  readonly begin?: () => Promise<string>;
};

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 120_000;
/** A watch that lived for so long was no failure, however it ended: many a proxy ends what is silent for 50 or 60 s. */
const LONG_LIVED_MS = 45_000;
/** The API server ends a watch after about an hour, each at another moment. */
const ABOUT_AN_HOUR_S = [3_000, 4_200] as const;

/**
 * Watches until the signal ends it. No watch goes on where another ended, so a 410 costs no more than a new one.
 * Between watches it waits, with jitter, longer each time unless the last one lived, and at least as long as the
 * server asks.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch
 */
export async function keepWatching(
  { kube, path, log, onEvent, begin }: Watched,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(FIRST_PAUSE_MS, LAST_PAUSE_MS);
  while (!signal.aborted) {
    const begunMs = performance.now();
    let problem: unknown;
    try {
      const version = (await begin?.()) ?? '0';
      for await (const event of kube.watch(withWatch(path, version), signal)) onEvent(event);
    } catch (err) {
      if (signal.aborted) return;
      problem = err;
      log.warn({ err, path }, 'watch ended');
    }
    if (performance.now() - begunMs > LONG_LIVED_MS) backoff.reset();
    await timers.setTimeout(backoff.next(problem), undefined, { signal }).catch(() => {});
  }
}

function withWatch(path: string, resourceVersion: string): string {
  const [shortest, longest] = ABOUT_AN_HOUR_S;
  const query = new URLSearchParams({
    watch: '1',
    allowWatchBookmarks: 'true',
    resourceVersion,
    timeoutSeconds: String(Math.round(shortest + Math.random() * (longest - shortest))),
  });
  return `${path}&${query}`;
}
