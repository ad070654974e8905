import timers from 'node:timers/promises';
import {
  type KubeConfig,
  type KubernetesObject,
  ListWatch,
  type V1DaemonSet,
  type V1Node,
  type V1Pod,
  Watch,
} from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { AGENT_SELECTOR, DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import { Backoff } from '../agent/kube/backoff.ts';
import type { Kube } from '../agent/kube/client.ts';
import { type AgentPod, type AgentSet, agentPodOf, agentSetOf } from './agents.ts';
import type { Observed } from './decide.ts';
import { type FleetNode, fleetNodeOf } from './node.ts';

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

/** What to follow: a path of a list, its selectors, and what is kept of each object. */
export type InformerOptions<Whole, Kept> = {
  readonly path: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Undefined where an object is none of these. */
  readonly keep: (object: Whole) => Kept | undefined;
  /** Hears of each object that came or changed. */
  readonly onChange?: (kept: Kept) => void;
};

/** How to reach the API server: for lists, for watches, and where problems are told. */
export type ApiAccess = { readonly kube: Kube; readonly config: KubeConfig; readonly log: Logger };

type Stored<Kept> = KubernetesObject & { readonly kept: Kept | undefined };

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
  readonly #followed: InformerOptions<Whole, Kept>;
  readonly #reach: ApiAccess;
  readonly #informer: ListWatch<Stored<Kept>>;
  readonly #renewalMs: number;
  #sinceMs: number | undefined;
  #openedMs = Number.POSITIVE_INFINITY;
  /** When its watch ended, until it is renewed. */
  #endedMs: number | undefined;
  #failed = Promise.withResolvers<unknown>();
  readonly #backoff = new Backoff(FIRST_PAUSE_MS, LAST_PAUSE_MS);

  /** `renewalMs`: a watch that is renewed later has missed something. */
  constructor(followed: InformerOptions<Whole, Kept>, reach: ApiAccess, renewalMs = RENEWAL_MS) {
    this.#renewalMs = renewalMs;
    this.#followed = followed;
    this.#reach = reach;
    const { path, labelSelector, fieldSelector, onChange } = followed;
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
    const hear = ({ kept }: Stored<Kept>) => kept !== undefined && onChange?.(kept);
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

  #hold(object: Whole): Stored<Kept> {
    const { name = '', namespace = '', resourceVersion = '' } = object.metadata ?? {};
    return { metadata: { name, namespace, resourceVersion }, kept: this.#followed.keep(object) };
  }

  /** Lists page by page, so that whole objects are never all in memory. */
  async #list(): Promise<{ items: Stored<Kept>[]; metadata: { resourceVersion: string } }> {
    const { path, labelSelector, fieldSelector } = this.#followed;
    const items: Stored<Kept>[] = [];
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

/** What three informers report about Nodes, the agents' pods, and their DaemonSet. */
export class ClusterCache {
  readonly #nodes: Informer<V1Node, FleetNode>;
  readonly #pods: Informer<V1Pod, AgentPod>;
  readonly #sets: Informer<V1DaemonSet, AgentSet>;
  /** Nodes on which an agent was Ready since it was asked last. */
  readonly #served = new Set<string>();

  /** `onNode` is called for each Node that came or changed. */
  constructor(reach: ApiAccess, onNode: (node: FleetNode) => void) {
    const path = `/namespaces/${NAMESPACE}`;
    this.#nodes = new Informer({ path: '/api/v1/nodes', keep: fleetNodeOf, onChange: onNode }, reach);
    const heard = ({ ready, node }: AgentPod) => {
      if (ready) this.serve(node);
    };
    this.#pods = new Informer(
      { path: `/api/v1${path}/pods`, labelSelector: AGENT_SELECTOR, keep: agentPodOf, onChange: heard },
      reach,
    );
    this.#sets = new Informer(
      {
        path: `/apis/apps/v1${path}/daemonsets`,
        fieldSelector: `metadata.name=${DAEMON_SET}`,
        keep: agentSetOf,
      },
      reach,
    );
  }

  get nodes(): readonly FleetNode[] {
    return this.#nodes.list();
  }

  get pods(): readonly AgentPod[] {
    return this.#pods.list();
  }

  get agents(): AgentSet | undefined {
    return this.#sets.list()[0];
  }

  /** Since when all three watches stand without a break, monotonic; undefined while one does not. */
  get followedSinceMs(): number | undefined {
    const since = [this.#nodes.sinceMs, this.#pods.sinceMs, this.#sets.sinceMs];
    return since.reduce((late, one) =>
      late === undefined || one === undefined ? undefined : Math.max(late, one),
    );
  }

  /** Takes a node for one on which an agent was Ready just now. */
  serve(node: string): void {
    this.#served.add(node);
  }

  /** All that is known for a decision, with what was seen since the last one. */
  take(withdrawn: Observed['withdrawn']): Observed {
    const { nodes, pods, agents, followedSinceMs } = this;
    for (const { ready, node } of pods) if (ready) this.serve(node);
    const served = new Set(this.#served);
    this.#served.clear();
    return {
      nodes,
      pods,
      ...(agents === undefined ? {} : { agents }),
      served,
      ...(followedSinceMs === undefined ? {} : { followedSinceMs }),
      withdrawn,
    };
  }

  /** Follows until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#nodes.run(signal), this.#pods.run(signal), this.#sets.run(signal)]);
  }
}
