import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { Backoff } from './backoff.ts';
import type { Kube, WatchEvent } from './client.ts';

export type WatchOptions = {
  readonly kube: Kube;
  /** A list's path, with its selectors as query. */
  readonly path: string;
  /** Metadata only by default. */
  readonly whole?: boolean;
  readonly log: Logger;
  readonly onEvent: (event: WatchEvent) => void;
  /** Returns the resource version to start from. Without it each watch starts with all objects as ADDED. */
  readonly begin?: () => Promise<string>;
  readonly onOpen?: () => void;
  /** Also after a watch that did not begin; undefined if the server ended it. */
  readonly onEnd?: (problem: unknown) => void;
  /** A watch that lived so long resets the backoff, however it ended. */
  readonly longLivedMs?: number;
  readonly maxPauseMs?: number;
};

const FIRST_PAUSE_MS = 1_000;
/** With its jitter at most half a minute, in which a Node restored from an old backup keeps labels that are wrong. */
const MAX_PAUSE_MS = 20_000;
/** Many proxies end a silent one after 50 or 60 s. */
const LONG_LIVED_MS = 45_000;
/** Random, so that the watches of all nodes do not end together. */
const WATCH_SECONDS = { min: 3_000, max: 4_200 };

/**
 * Watches until the signal is aborted. Each watch starts anew, unless `begin` resumes. Between watches there is a pause
 * with backoff, at least the server's Retry-After. Source:
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch
 */
export async function keepWatching(options: WatchOptions, signal: AbortSignal): Promise<void> {
  const { kube, path, whole = false, log, onEvent, begin, onOpen, onEnd } = options;
  const { longLivedMs = LONG_LIVED_MS, maxPauseMs = MAX_PAUSE_MS } = options;
  const backoff = new Backoff(FIRST_PAUSE_MS, maxPauseMs);
  while (!signal.aborted) {
    const startedMs = performance.now();
    let problem: unknown;
    try {
      const version = (await begin?.()) ?? '0';
      const events = kube.watch(withWatch(path, version), signal, { whole, ...(onOpen && { onOpen }) });
      for await (const event of events) onEvent(event);
    } catch (err) {
      if (signal.aborted) return;
      problem = err;
      log.warn({ err, path }, 'watch ended');
    }
    onEnd?.(problem);
    if (performance.now() - startedMs > longLivedMs) backoff.reset();
    await timers.setTimeout(backoff.next(problem), undefined, { signal }).catch(() => {});
  }
}

function withWatch(path: string, resourceVersion: string): string {
  const { min, max } = WATCH_SECONDS;
  const query = new URLSearchParams({
    watch: '1',
    allowWatchBookmarks: 'true',
    resourceVersion,
    timeoutSeconds: String(Math.round(min + Math.random() * (max - min))),
  });
  return `${path}&${query}`;
}
