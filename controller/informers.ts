import type { V1DaemonSet, V1Node, V1Pod } from '@kubernetes/client-node';
import {
  type AgentPod,
  type AgentSet,
  type AgentSettings,
  agentPodOf,
  agentSetOf,
  agentSettingsOf,
  type FleetNode,
  fleetNodeOf,
} from '../lib/fleet/objects.ts';
import { type InstallerPod, installerPodOf, type Pace, paceOf, SCHEDULED } from '../lib/fleet/turns.ts';
import { AGENT_SELECTOR, DAEMON_SET } from '../lib/kube/access.ts';
import type { ApiAccess, WatchEvent } from '../lib/kube/client.ts';
import { KubeError } from '../lib/kube/error.ts';
import { pagesOf } from '../lib/kube/pages.ts';
import { keepWatching } from '../lib/kube/watch.ts';
import { CANARY_SELECTOR, type CanaryPod, canaryPodOf } from './canaries.ts';
import { EGRESS_SELECTOR, type EgressPod, egressPodOf, type PodsByNode } from './egress.ts';

export type Observed = ReturnType<ClusterCache['observe']> & {
  /** Within the damping time, monotonic, by uid. */
  readonly withdrawn: ReadonlyMap<string, readonly number[]>;
  /** Names of the nodes whose agents answer, Ready or not, and still run their loop. */
  readonly living: ReadonlySet<string>;
  /** Whether the agent, as last read, refutes what its Node says, by node name; missing if it was not read. */
  readonly refuted: ReadonlyMap<string, boolean>;
};

type Whole = V1Node | V1Pod | V1DaemonSet;

export type InformerOptions<Each extends Whole, Kept> = {
  readonly path: string;
  readonly selectors?: Readonly<Record<string, string>>;
  /** Picks the cached part; undefined skips the object. */
  readonly pick: (object: Each) => Kept | undefined;
  /** For each object that is listed, added or updated. */
  readonly onChange?: (picked: Kept) => void;
  /** After a list that follows a watch: objects may have come and gone unobserved. */
  readonly onRelist?: () => void;
};

const PAGE_SIZE = '500';
const MAX_PAUSE_MS = 30_000;
const RENEWAL_MS = 5_000;

/** Lists once, then watches, and continues where a watch ended. Caches a part of each object. */
export class Informer<Each extends Whole, Kept> {
  readonly #options: InformerOptions<Each, Kept>;
  readonly #api: ApiAccess;
  readonly #renewalMs: number;
  #kept = new Map<string, Kept>();
  /** The version from which the next watch continues; "" if it begins with a list. */
  #version = '';
  #sinceMs: number | undefined;
  #heardMs = performance.now();
  /** Undefined once the watch is renewed. */
  #endedMs: number | undefined;

  /** A watch renewed after `renewalMs` counts as interrupted. */
  constructor(options: InformerOptions<Each, Kept>, api: ApiAccess, renewalMs = RENEWAL_MS) {
    this.#options = options;
    this.#api = api;
    this.#renewalMs = renewalMs;
  }

  /**
   * When the watch came up, monotonic; undefined while it is down. The API server and proxies end watches now
   * and then, and one renewed soon counts as never interrupted.
   */
  get sinceMs(): number | undefined {
    const isInterrupted = this.#endedMs !== undefined && performance.now() - this.#endedMs > this.#renewalMs;
    return isInterrupted ? undefined : this.#sinceMs;
  }

  /** Since when the watch has said nothing, monotonic; the API server sends a bookmark about once a minute. */
  get silentSinceMs(): number {
    return this.#heardMs;
  }

  list(): Kept[] {
    return [...this.#kept.values()];
  }

  /** Watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { kube, log } = this.#api;
    const { path, selectors } = this.#options;
    const watch = {
      kube,
      path: `${path}?${new URLSearchParams(selectors)}`,
      whole: true,
      log,
      longLivedMs: this.#renewalMs,
      maxPauseMs: MAX_PAUSE_MS,
      begin: async () => this.#version || (await this.#list(signal)),
      onOpen: () => {
        this.#heardMs = performance.now();
        this.#sinceMs = this.sinceMs ?? performance.now();
        this.#endedMs = undefined;
      },
      onEvent: (event: WatchEvent) => this.#note(event),
      onEnd: (problem: unknown) => {
        this.#endedMs ??= performance.now();
        if (isOutdated(problem)) this.#version = '';
      },
    };
    await keepWatching(watch, signal);
  }

  async #list(signal: AbortSignal): Promise<string> {
    this.#sinceMs = undefined; // objects may have come and gone unobserved
    const { path, selectors, pick, onChange, onRelist } = this.#options;
    const isFirst = this.#kept.size === 0;
    const kept = new Map<string, Kept>();
    let version = '';
    const get = (page: string) => this.#api.kube.get(page, signal);
    for await (const page of pagesOf<Each>(get, path, { ...selectors, limit: PAGE_SIZE })) {
      for (const object of page.items ?? []) {
        const picked = pick(object);
        if (picked !== undefined) kept.set(nameOf(object), picked);
      }
      version = page.metadata?.resourceVersion ?? '';
    }
    this.#version = version;
    this.#kept = kept;
    for (const picked of kept.values()) onChange?.(picked);
    if (!isFirst) onRelist?.();
    return version;
  }

  #note({ type, object }: WatchEvent): void {
    const { pick, onChange } = this.#options;
    this.#heardMs = performance.now();
    const whole = object as Each;
    this.#version = whole.metadata?.resourceVersion ?? '';
    if (type === 'BOOKMARK') return;
    const picked = type === 'DELETED' ? undefined : pick(whole);
    if (picked === undefined) this.#kept.delete(nameOf(whole));
    else {
      this.#kept.set(nameOf(whole), picked);
      onChange?.(picked);
    }
  }
}

function nameOf({ metadata }: Whole): string {
  return metadata?.name ?? '';
}

/**
 * Whether the next watch must list again: the version is too old, or, after a restore of etcd, lies in the future,
 * for which the API server sends an error or nothing.
 */
function isOutdated(problem: unknown): boolean {
  const { code } = (problem ?? {}) as { readonly code?: string };
  return problem instanceof KubeError || code === 'UND_ERR_BODY_TIMEOUT';
}

type CacheOptions = {
  readonly onNode: (node: FleetNode) => void;
  readonly onRelist: () => void;
  readonly egressNamespace?: string | undefined;
};

/** Nodes, the pods of agents, installers and canaries, and the DaemonSets beside them. */
export class ClusterCache {
  readonly #nodes: Informer<V1Node, FleetNode>;
  readonly #pods: Informer<V1Pod, AgentPod>;
  readonly #installers: Informer<V1Pod, InstallerPod>;
  readonly #canaries: Informer<V1Pod, CanaryPod>;
  /** Undefined without the component. */
  readonly #egress: Informer<V1Pod, EgressPod> | undefined;
  readonly #sets: Informer<V1DaemonSet, AgentSet & AgentSettings & Pace>;
  /** Since the last {@link observe}. */
  readonly #readyAgents = new Set<string>();

  /** `onNode` is called for each Node added or updated, and `onRelist` after Nodes or agents' pods were not seen for a while. */
  constructor(api: ApiAccess, { onNode, onRelist, egressNamespace }: CacheOptions) {
    const path = `/namespaces/${api.namespace}`;
    this.#nodes = new Informer({ path: '/api/v1/nodes', pick: fleetNodeOf, onChange: onNode, onRelist }, api);
    const onPod = ({ ready, node }: AgentPod) => {
      if (ready) this.markReady(node);
    };
    const agents = { labelSelector: AGENT_SELECTOR };
    const installers = { fieldSelector: SCHEDULED };
    const pods = `/api/v1${path}/pods`;
    this.#pods = new Informer(
      { path: pods, selectors: agents, pick: agentPodOf, onChange: onPod, onRelist },
      api,
    );
    this.#installers = new Informer({ path: pods, selectors: installers, pick: installerPodOf }, api);
    const canaries = { labelSelector: CANARY_SELECTOR };
    this.#canaries = new Informer({ path: pods, selectors: canaries, pick: canaryPodOf }, api);
    if (egressNamespace !== undefined) {
      const selectors = { labelSelector: EGRESS_SELECTOR };
      const path = `/api/v1/namespaces/${egressNamespace}/pods`;
      this.#egress = new Informer({ path, selectors, pick: egressPodOf }, api);
    }
    const pick = (set: V1DaemonSet) => ({ ...agentSetOf(set), ...agentSettingsOf(set), ...paceOf(set) });
    this.#sets = new Informer({ path: `/apis/apps/v1${path}/daemonsets`, pick }, api);
  }

  get nodes(): readonly FleetNode[] {
    return this.#nodes.list();
  }

  get pods(): readonly AgentPod[] {
    return this.#pods.list();
  }

  get agents(): AgentSet | undefined {
    return this.#agents;
  }

  /** Undefined before the DaemonSets were listed; the defaults without one of the agents. */
  get agentSettings(): AgentSettings | undefined {
    return this.#agents ?? (this.#sets.sinceMs === undefined ? undefined : agentSettingsOf(undefined));
  }

  /** A kustomization may have given it a prefix and a suffix. */
  get #agents() {
    return this.#sets.list().find(({ name }) => name.includes(DAEMON_SET));
  }

  /** The pods of installers. */
  get installers(): readonly InstallerPod[] {
    return this.#installers.list();
  }

  get canaries(): readonly CanaryPod[] {
    return this.#canaries.list();
  }

  /** Undefined while their watch is down, and without the component. */
  get egress(): PodsByNode | undefined {
    if (this.#egress?.sinceMs === undefined) return undefined;
    return Map.groupBy(this.#egress.list(), ({ node }) => node);
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

  /** Since when the most silent of these has said nothing, monotonic. */
  get silentSinceMs(): number {
    return Math.min(this.#nodes.silentSinceMs, this.#pods.silentSinceMs, this.#sets.silentSinceMs);
  }

  markReady(node: string): void {
    this.#readyAgents.add(node);
  }

  /** The input of the next decision. */
  observe() {
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
    } as const;
  }

  /** Watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const informers = [this.#nodes, this.#pods, this.#installers, this.#canaries, this.#egress, this.#sets];
    await Promise.all(informers.map((informer) => informer?.run(signal)));
  }
}
