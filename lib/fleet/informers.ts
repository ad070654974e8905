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
import { AGENT_SELECTOR, DAEMON_SET } from '../kube/access.ts';
import { Backoff } from '../kube/backoff.ts';
import type { Kube } from '../kube/client.ts';
import { pagesOf } from '../kube/pages.ts';
import { namespaceOf } from './access.ts';
import {
  type AgentPod,
  type AgentSet,
  agentPodOf,
  agentSetOf,
  type FleetNode,
  fleetNodeOf,
} from './objects.ts';
import { type InstallerPod, installerPodOf, type Pace, paceOf, SCHEDULED } from './turns.ts';

export type Observed = ReturnType<ClusterCache['observe']> & {
  /** Of the latest report that refutes a label, monotonic, by node name. */
  readonly refutedMs: ReadonlyMap<string, number>;
};

export type InformerOptions<Whole, Kept> = {
  readonly path: string;
  readonly selectors?: { readonly labelSelector?: string; readonly fieldSelector?: string };
  /** Picks the cached part; undefined skips the object. */
  readonly pick: (object: Whole) => Kept | undefined;
  /** For each object that is added or updated. */
  readonly onChange?: (picked: Kept) => void;
};

/** `kube` is for lists and writes, `config` for watches. */
export type ApiAccess = { readonly kube: Kube; readonly config: KubeConfig; readonly log: Logger };

type Stored<Kept> = KubernetesObject & { readonly picked: Kept | undefined };

const PAGE_SIZE = '250';
const MIN_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;
/** The API server sends a bookmark about once a minute. */
const IDLE_TIMEOUT_MS = 150_000;
const RENEWAL_MS = 5_000;

/**
 * The client's informer, caching a part of each object. The client stops at an error; this one restarts with
 * exponential backoff. Source: https://github.com/kubernetes-client/javascript/blob/main/src/cache.ts
 */
export class Informer<Whole extends KubernetesObject, Kept> {
  readonly #options: InformerOptions<Whole, Kept>;
  readonly #api: ApiAccess;
  readonly #informer: ListWatch<Stored<Kept>>;
  readonly #renewalMs: number;
  #sinceMs: number | undefined;
  #openedMs = Number.POSITIVE_INFINITY;
  /** Undefined once the watch is renewed. */
  #endedMs: number | undefined;
  #failed = Promise.withResolvers<unknown>();
  readonly #backoff = new Backoff(MIN_BACKOFF_MS, MAX_BACKOFF_MS);

  /** A watch renewed after `renewalMs` counts as interrupted. */
  constructor(options: InformerOptions<Whole, Kept>, api: ApiAccess, renewalMs = RENEWAL_MS) {
    this.#renewalMs = renewalMs;
    this.#options = options;
    this.#api = api;
    const { path, selectors: { labelSelector, fieldSelector } = {}, onChange } = options;
    const watch = new PickingWatch(api.config, (object) => this.#store(object as Whole), {
      opened: () => this.#opened(),
      closed: () => this.#closed(),
    });
    const list = () => {
      this.#sinceMs = undefined; // objects may have come and gone unobserved
      return this.#list();
    };
    // The client's own backoff grows with each watch without an event, however long it was up.
    const delayFn = () => timers.setTimeout(this.#backoff.next(), undefined, { ref: false });
    this.#informer = new ListWatch(path, watch, list, false, labelSelector, fieldSelector, { delayFn });
    this.#informer.on('error', (error) => this.#failed.resolve(error));
    const notify = ({ picked }: Stored<Kept>) => picked !== undefined && onChange?.(picked);
    this.#informer.on('add', notify);
    this.#informer.on('update', notify);
  }

  /**
   * When the watch came up, monotonic; undefined while it is down. The API server and proxies end watches now
   * and then, and one renewed soon counts as never interrupted.
   */
  get sinceMs(): number | undefined {
    const isInterrupted = this.#endedMs !== undefined && performance.now() - this.#endedMs > this.#renewalMs;
    return isInterrupted ? undefined : this.#sinceMs;
  }

  list(): Kept[] {
    return this.#informer.list().flatMap(({ picked }) => picked ?? []);
  }

  /** Watches until the signal aborts. */
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
      this.#api.log.warn({ err, path: this.#options.path, retryInMs }, 'watch ended');
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
    // A watch that ends at once proves nothing.
    if (this.#endedMs - this.#openedMs > this.#renewalMs) this.#backoff.reset();
  }

  #store(object: Whole): Stored<Kept> {
    const { name = '', namespace = '', resourceVersion = '' } = object.metadata ?? {};
    return { metadata: { name, namespace, resourceVersion }, picked: this.#options.pick(object) };
  }

  async #list(): Promise<{ items: Stored<Kept>[]; metadata: { resourceVersion: string } }> {
    const { path, selectors } = this.#options;
    const items: Stored<Kept>[] = [];
    let resourceVersion = '';
    const get = (path: string) => this.#api.kube.get(path);
    for await (const page of pagesOf<Whole>(get, path, { ...selectors, limit: PAGE_SIZE })) {
      items.push(...(page.items ?? []).map((object) => this.#store(object)));
      resourceVersion = page.metadata?.resourceVersion ?? '';
    }
    return { items, metadata: { resourceVersion } };
  }
}

type WatchCallbacks = { readonly opened: () => void; readonly closed: () => void };

/**
 * Makes the client list again: after a restore of etcd a version may lie in the future, for which the API
 * server sends an error or nothing.
 */
const GONE = { code: 410, statusCode: 410 };

function isIdle(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError';
}

class PickingWatch extends Watch {
  readonly #pick: (object: unknown) => unknown;
  readonly #callbacks: WatchCallbacks;

  constructor(config: KubeConfig, pick: (object: unknown) => unknown, callbacks: WatchCallbacks) {
    super(config);
    // The client's private timeout of 30 s is shorter than the interval of bookmarks.
    Object.assign(this, { requestTimeoutMs: IDLE_TIMEOUT_MS });
    this.#pick = pick;
    this.#callbacks = callbacks;
  }

  override async watch(
    ...[path, query, callback, done]: Parameters<Watch['watch']>
  ): Promise<AbortController> {
    let ended = false;
    const end = (error: unknown) => {
      ended = true;
      this.#callbacks.closed();
      done(isIdle(error) ? GONE : error);
    };
    // A bookmark carries only a version; one of pods has null for their containers.
    const onEvent: typeof callback = (phase, object, whole) => {
      if (phase === 'ERROR') return callback(phase, GONE, whole);
      return callback(phase, phase === 'BOOKMARK' ? object : this.#pick(object), whole);
    };
    const parameters = { ...query, allowWatchBookmarks: true };
    // Rejects if the credential cannot be read, which the client leaves unhandled on a renewal.
    const controller = await super.watch(path, parameters, onEvent, end).catch((error: unknown) => {
      end(error);
      return new AbortController();
    });
    if (!ended) this.#callbacks.opened();
    return controller;
  }
}

/** Nodes, the pods of agents and installers, and the DaemonSets beside them. */
export class ClusterCache {
  readonly #nodes: Informer<V1Node, FleetNode>;
  readonly #pods: Informer<V1Pod, AgentPod>;
  readonly #installers: Informer<V1Pod, InstallerPod>;
  readonly #sets: Informer<V1DaemonSet, AgentSet & Pace>;
  /** Since the last {@link observe}. */
  readonly #readyAgents = new Set<string>();

  /** `onNode` is called for each Node added or updated. */
  constructor(api: ApiAccess, onNode: (node: FleetNode) => void) {
    const path = `/namespaces/${namespaceOf(api.config)}`;
    this.#nodes = new Informer({ path: '/api/v1/nodes', pick: fleetNodeOf, onChange: onNode }, api);
    const onPod = ({ ready, node }: AgentPod) => {
      if (ready) this.markReady(node);
    };
    const agents = { labelSelector: AGENT_SELECTOR };
    const installers = { fieldSelector: SCHEDULED };
    const pods = `/api/v1${path}/pods`;
    this.#pods = new Informer({ path: pods, selectors: agents, pick: agentPodOf, onChange: onPod }, api);
    this.#installers = new Informer({ path: pods, selectors: installers, pick: installerPodOf }, api);
    const pick = (set: V1DaemonSet) => ({ ...agentSetOf(set), ...paceOf(set) });
    this.#sets = new Informer({ path: `/apis/apps/v1${path}/daemonsets`, pick }, api);
  }

  get nodes(): readonly FleetNode[] {
    return this.#nodes.list();
  }

  get pods(): readonly AgentPod[] {
    return this.#pods.list();
  }

  get agents(): AgentSet | undefined {
    return this.#sets.list().find(({ name }) => name === DAEMON_SET);
  }

  /** The pods of installers. */
  get installers(): readonly InstallerPod[] {
    return this.#installers.list();
  }

  get paces(): readonly Pace[] {
    return this.#sets.list();
  }

  /** When the three watches that decide on labels came up, monotonic; undefined while one is down. */
  get watchesUpSinceMs(): number | undefined {
    const since = [this.#nodes.sinceMs, this.#pods.sinceMs, this.#sets.sinceMs];
    return since.reduce((late, one) =>
      late === undefined || one === undefined ? undefined : Math.max(late, one),
    );
  }

  markReady(node: string): void {
    this.#readyAgents.add(node);
  }

  /** The input of the next decision; `withdrawn`: within the damping time, monotonic, by uid. */
  observe(withdrawn: ReadonlyMap<string, readonly number[]>) {
    const { nodes, pods, agents, watchesUpSinceMs } = this;
    for (const { ready, node } of pods) if (ready) this.markReady(node);
    const readyAgents: ReadonlySet<string> = new Set(this.#readyAgents);
    this.#readyAgents.clear();
    return {
      nodes,
      pods,
      /** Absent if the DaemonSet does not exist. */
      ...(agents === undefined ? {} : { agents }),
      /** With an agent that was Ready at any time since the last decision. */
      readyAgents,
      /** Absent while a watch is down. */
      ...(watchesUpSinceMs === undefined ? {} : { watchesUpSinceMs }),
      withdrawn,
    } as const;
  }

  /** Watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const informers = [this.#nodes, this.#pods, this.#installers, this.#sets];
    await Promise.all(informers.map((informer) => informer.run(signal)));
  }
}
