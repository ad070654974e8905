import timers from 'node:timers/promises';
import { memoize } from '../agent/async.ts';
import { KubeError } from '../agent/kube/error.ts';
import type { Reason } from '../agent/reasons.ts';
import { type Decision, decide, TICK_MS } from './decide.ts';
import { FleetEvents } from './events.ts';
import type { ApiAccess } from './informers.ts';
import { ClusterCache } from './informers.ts';
import type { FleetMetrics } from './metrics.ts';
import { type FleetNode, isExposed, isRebooted } from './node.ts';
import { AgentReports, agentAnswers } from './reports.ts';
import type { FleetConfig } from './settings.ts';
import { type FleetView, viewFleet } from './view.ts';
import { taintExposed, type Withdrawal, withdraw, withdrawRebooted } from './withdraw.ts';

/** How many Nodes are written at the same time. */
const AT_ONCE = 16;
/** How long a Node that could not be written is left alone. */
const PAUSE_MS = 5_000;
/** How often a view is made at most. */
const VIEW_MS = 1_000;
/** A decision that is so late means that the loop has stalled. */
const STALLED_MS = 30_000;

/** What a fleet needs. */
export type FleetOptions = ApiAccess & { readonly settings: FleetConfig; readonly metrics: FleetMetrics };

/**
 * The controller: follows Nodes and agents, and withdraws the labels of nodes that rebooted and of lost agents. It decides every two
 * seconds, and at once when a node reboots.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #sight: ClusterCache;
  readonly #reports: AgentReports;
  readonly #teller: FleetEvents;
  readonly #withdrawn = new Map<string, number>();
  /** Names of the nodes that are being written, or were just now. */
  readonly #busy = new Set<string>();
  #writing = 0;
  /** Whether a node had to wait because so many others were written. */
  #crowded = false;
  #wake = new AbortController();
  #decision: Decision | undefined;
  readonly #view = memoize(() => this.#look(), VIEW_MS);
  #decidedMs = performance.now();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#sight = new ClusterCache(options, (node) => {
      if (isRebooted(node) || (options.settings.taint && isExposed(node))) this.#wake.abort();
    });
    this.#reports = new AgentReports(options.settings.reportIntervalMs);
    this.#teller = new FleetEvents(options.kube, options.log);
  }

  /** Whether decisions are made. */
  get live(): boolean {
    return performance.now() - this.#decidedMs < STALLED_MS;
  }

  /** Whether the whole fleet was seen once. */
  get ready(): boolean {
    return this.#decision?.memory.followedAtMs !== undefined;
  }

  /** The fleet as it looks now, at most a second old. */
  get view(): FleetView {
    return this.#view();
  }

  /** The Nodes as they were last seen. */
  get nodes(): readonly FleetNode[] {
    return this.#sight.nodes;
  }

  /** The address of the agent on a node; undefined where there is none. */
  addressOf(node: string): string | undefined {
    const pods = this.#sight.pods.filter((pod) => pod.node === node && pod.address !== '');
    return (pods.find(({ ready }) => ready) ?? pods[0])?.address;
  }

  /** Works until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#sight.run(signal),
      this.#reports.run(() => this.#sight.pods, signal),
      this.#keepDeciding(signal),
    ]);
  }

  async #keepDeciding(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = new AbortController();
      this.#decide(signal);
      const woken = AbortSignal.any([signal, this.#wake.signal]);
      await timers.setTimeout(TICK_MS, undefined, { signal: woken }).catch(() => {});
    }
  }

  #decide(signal: AbortSignal): void {
    const { patience } = this.#options.settings;
    const nowMs = performance.now();
    this.#decidedMs = nowMs;
    const seen = this.#sight.take(this.#withdrawn);
    const last = this.#decision;
    const decision = decide(seen, last?.memory, { nowMs, wallMs: Date.now() }, patience);
    this.#decision = decision;
    for (const [uid, atMs] of this.#withdrawn)
      if (nowMs - atMs > patience.windowMs) this.#withdrawn.delete(uid);
    this.#teller.ofBreaker(last?.breaker ?? [], decision);
    const byName = new Map(seen.nodes.map((node) => [node.name, node]));
    this.#crowded = false;
    const start = (names: readonly string[], write: (node: FleetNode) => Promise<void>) => {
      for (const name of names) {
        const node = byName.get(name);
        if (node === undefined || this.#busy.has(name)) continue;
        if (this.#writing < AT_ONCE) void this.#write(name, () => write(node), signal);
        else this.#crowded = true;
      }
    };
    start(decision.rebooted, (node) => this.#withdrawRebooted(node, signal));
    if (this.#options.settings.taint) start(decision.exposed, (node) => this.#taint(node, signal));
    start(decision.withdraw, (node) => this.#withdrawLost(node, signal));
  }

  /** Writes one Node, and leaves it alone until the watch has shown that. */
  async #write(name: string, write: () => Promise<void>, signal: AbortSignal): Promise<void> {
    this.#busy.add(name);
    this.#writing++;
    let pauseMs = TICK_MS;
    try {
      await write();
    } catch (err) {
      // A kubelet that starts writes its Node at the same moment: once more, with what it is now.
      pauseMs = err instanceof KubeError && err.status === 409 ? 0 : PAUSE_MS;
      if (!signal.aborted)
        this.#options.log.warn({ err, node: name, retryInMs: pauseMs }, 'cannot write the node');
    }
    this.#writing--;
    if (pauseMs > 0) {
      if (this.#crowded && this.#writing < AT_ONCE / 2) this.#wake.abort();
      await timers.setTimeout(pauseMs, undefined, { signal }).catch(() => {});
    }
    this.#busy.delete(name);
    if (pauseMs === 0) this.#wake.abort();
  }

  async #withdrawLost(node: FleetNode, signal: AbortSignal): Promise<void> {
    const { kube, settings } = this.#options;
    const allowed = () => this.#decision?.breaker.length === 0;
    const wallMs = () => Date.now();
    const { patience } = settings;
    const done = await withdraw(node, { kube, patience, answers: agentAnswers, allowed, wallMs, signal });
    if ('kept' in done)
      this.#sight.serve(node.name); // its timer restarts
    else this.#withdrawn.set(node.uid, performance.now());
    this.#tell(node, 'AgentLost', done);
  }

  async #withdrawRebooted(node: FleetNode, signal: AbortSignal): Promise<void> {
    const wallMs = () => Date.now();
    const done = await withdrawRebooted(node, { kube: this.#options.kube, wallMs, signal });
    this.#tell(node, 'NodeRebooted', done);
  }

  async #taint(node: FleetNode, signal: AbortSignal): Promise<void> {
    const { kube, log } = this.#options;
    if (await taintExposed(node, { kube, wallMs: () => Date.now(), signal }))
      log.info({ node: node.name }, 'node tainted until it is proven again, because it is not Ready');
  }

  #tell(node: FleetNode, reason: Reason, done: Withdrawal): void {
    const { log, metrics } = this.#options;
    if ('kept' in done) {
      log.info({ node: node.name, because: done.kept }, 'label kept');
      return;
    }
    metrics.countWithdrawal();
    log.warn({ node: node.name, reason }, 'label withdrawn');
    this.#teller.ofNode(node, reason, done.message);
  }

  #look(): FleetView {
    const { nodes, pods, agents, followedSinceMs } = this.#sight;
    return viewFleet({
      current: followedSinceMs !== undefined,
      nodes,
      pods,
      agents,
      word: (node) => this.#reports.get(node),
      breaker: this.#decision?.breaker ?? [],
      paused: this.#decision?.paused ?? [],
    });
  }
}
