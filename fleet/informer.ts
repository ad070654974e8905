import timers from 'node:timers/promises';
import { type KubeConfig, type KubernetesObject, ListWatch, Watch } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { Backoff } from '../agent/kube/backoff.ts';
import type { Kube } from '../agent/kube/client.ts';
import { pagesOf } from './pages.ts';

/** What to follow: a path of a list, its selectors, and what is kept of each object. */
export type Followed<Whole, Kept> = {
  readonly path: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Undefined where an object is none of these. */
  readonly keep: (object: Whole) => Kept | undefined;
  /** Hears of each object that came or changed. */
  readonly heard?: (kept: Kept) => void;
};

/** How to reach the API server: for lists, for watches, and where problems are told. */
export type Reach = { readonly kube: Kube; readonly config: KubeConfig; readonly log: Logger };

type Held<Kept> = KubernetesObject & { readonly kept: Kept | undefined };

const PAGE = '250';
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;
/** The API server sends a bookmark about once a minute, so a watch that is silent for longer is broken. */
const SILENCE_MS = 150_000;
const RENEWAL_MS = 5_000;

/**
 * An informer of the official client that keeps only a part of each object, and knows since when its watch has been working.
 * The client ends an informer at an error; this one restarts, after pauses that double up to 30 s.
 * Source: https://github.com/kubernetes-client/javascript/blob/main/src/cache.ts
 */
export class Informer<Whole extends KubernetesObject, Kept> {
  readonly #followed: Followed<Whole, Kept>;
  readonly #reach: Reach;
  readonly #informer: ListWatch<Held<Kept>>;
  readonly #renewalMs: number;
  #sinceMs: number | undefined;
  #openedMs = Number.POSITIVE_INFINITY;
  /** When its watch ended, until it is renewed. */
  #endedMs: number | undefined;
  #failed = Promise.withResolvers<unknown>();
  readonly #backoff = new Backoff(FIRST_PAUSE_MS, LAST_PAUSE_MS);

  /** `renewalMs`: a watch that is renewed later has missed something. */
  constructor(followed: Followed<Whole, Kept>, reach: Reach, renewalMs = RENEWAL_MS) {
    this.#renewalMs = renewalMs;
    this.#followed = followed;
    this.#reach = reach;
    const { path, labelSelector, fieldSelector, heard } = followed;
    const watch = new KeepingWatch(reach.config, (object) => this.#hold(object as Whole), {
      opened: () => this.#opened(),
      closed: () => this.#closed(),
    });
    const list = () => {
      this.#sinceMs = undefined; // what came and went before is in no list
      return this.#list();
    };
    // The client's own pauses grow with each watch that ends without an event, however long it stood.
    const delayFn = () => timers.setTimeout(this.#backoff.next(), undefined, { ref: false });
    this.#informer = new ListWatch(path, watch, list, false, labelSelector, fieldSelector, { delayFn });
    this.#informer.on('error', (error) => this.#failed.resolve(error));
    const hear = ({ kept }: Held<Kept>) => kept !== undefined && heard?.(kept);
    this.#informer.on('add', hear);
    this.#informer.on('update', hear);
  }

  /**
   * Since when its watch stands without a break, monotonic; undefined while it does not. The API server ends each watch
   * once in a while, a proxy may cut it, and one that is renewed soon goes on where it ended.
   */
  get sinceMs(): number | undefined {
    const brokenOff = this.#endedMs !== undefined && performance.now() - this.#endedMs > this.#renewalMs;
    return brokenOff ? undefined : this.#sinceMs;
  }

  /** All that there is now. */
  list(): Kept[] {
    return this.#informer.list().flatMap(({ kept }) => kept ?? []);
  }

  /** Follows until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#failed.resolve(undefined));
    while (!signal.aborted) {
      this.#failed = Promise.withResolvers();
      void this.#informer.start().catch((error: unknown) => this.#failed.resolve(error));
      const err = await this.#failed.promise;
      await this.#informer.stop();
      this.#closed();
      if (signal.aborted) return;
      const retryInMs = this.#backoff.next();
      this.#reach.log.warn({ err, path: this.#followed.path, retryInMs }, 'watch ended');
      await timers.setTimeout(retryInMs, undefined, { signal }).catch(() => {});
    }
  }

  #opened(): void {
    this.#sinceMs = this.sinceMs ?? performance.now();
    this.#endedMs = undefined;
    this.#openedMs = performance.now();
  }

  #closed(): void {
    if (this.#endedMs !== undefined) return;
    this.#endedMs = performance.now();
    // One that is cut at once tells nothing, and is asked for less and less often until nothing counts as fresh any more.
    if (this.#endedMs - this.#openedMs > this.#renewalMs) this.#backoff.reset();
  }

  #hold(object: Whole): Held<Kept> {
    const { name = '', namespace = '', resourceVersion = '' } = object.metadata ?? {};
    return { metadata: { name, namespace, resourceVersion }, kept: this.#followed.keep(object) };
  }

  /** Lists page by page, so that whole objects are never all in memory. */
  async #list(): Promise<{ items: Held<Kept>[]; metadata: { resourceVersion: string } }> {
    const { path, labelSelector, fieldSelector } = this.#followed;
    const items: Held<Kept>[] = [];
    let resourceVersion = '';
    const query = {
      limit: PAGE,
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
    const get = (words: string) => this.#reach.kube.get(words);
    for await (const page of pagesOf<Whole>(get, path, query)) {
      items.push(...(page.items ?? []).map((object) => this.#hold(object)));
      resourceVersion = page.metadata?.resourceVersion ?? '';
    }
    return { items, metadata: { resourceVersion } };
  }
}

/** Hears when a watch stands and when it ends. */
type Link = { readonly opened: () => void; readonly closed: () => void };

/** A watch that hands on a part of each object, and tells when it stands and when it ends. */
class KeepingWatch extends Watch {
  readonly #hold: (object: unknown) => unknown;
  readonly #link: Link;

  constructor(config: KubeConfig, hold: (object: unknown) => unknown, link: Link) {
    super(config);
    // The client keeps its 30 s private, which is less than the time between two bookmarks.
    Object.assign(this, { requestTimeoutMs: SILENCE_MS });
    this.#hold = hold;
    this.#link = link;
  }

  override async watch(
    ...[path, query, callback, done]: Parameters<Watch['watch']>
  ): Promise<AbortController> {
    let ended = false;
    const end = (error: unknown) => {
      ended = true;
      this.#link.closed();
      done(error);
    };
    // A bookmark has a version and nothing to keep: that of pods has null where their containers are.
    const isNone = (phase: string) => phase === 'ERROR' || phase === 'BOOKMARK';
    const hear: typeof callback = (phase, object, whole) =>
      callback(phase, isNone(phase) ? object : this.#hold(object), whole);
    const words = { ...query, allowWatchBookmarks: true };
    // It rejects where the credential cannot be read, and a watch that is renewed has nobody who would hear of that.
    const controller = await super.watch(path, words, hear, end).catch((error: unknown) => {
      end(error);
      return new AbortController();
    });
    if (!ended) this.#link.opened();
    return controller;
  }
}
