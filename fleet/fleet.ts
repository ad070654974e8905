import timers from 'node:timers/promises';
import { keep } from '../agent/http/keep.ts';
import { type Decision, decide, TICK_MS } from './decide.ts';
import type { Reach } from './informer.ts';
import type { FleetMetrics } from './metrics.ts';
import type { FleetNode } from './node.ts';
import { agentAnswers, Reports } from './reports.ts';
import type { FleetConfig } from './settings.ts';
import { Sight } from './sight.ts';
import { Teller } from './tell.ts';
import { type FleetView, viewFleet } from './view.ts';
import { withdraw } from './withdraw.ts';

/** How many labels are withdrawn at the same time. */
const AT_ONCE = 16;
/** How long a node whose label could not be withdrawn is left alone. */
const PAUSE_MS = 10_000;
/** How often a view is made at most. */
const VIEW_MS = 1_000;
/** A decision that is so late means that the loop has stalled. */
const STALLED_MS = 30_000;

/** What a fleet needs. */
export type FleetOptions = Reach & { readonly settings: FleetConfig; readonly metrics: FleetMetrics };

/** The controller: follows Nodes and agents, decides every two seconds, and withdraws the labels of lost agents. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #sight: Sight;
  readonly #reports: Reports;
  readonly #teller: Teller;
  readonly #withdrawn = new Map<string, number>();
  readonly #busy = new Set<string>();
  #decision: Decision | undefined;
  readonly #view = keep(() => this.#look(), VIEW_MS);
  #decidedMs = performance.now();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#sight = new Sight(options);
    this.#reports = new Reports(options.settings.reportIntervalMs);
    this.#teller = new Teller(options.kube, options.log);
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
      this.#decide(signal);
      await timers.setTimeout(TICK_MS, undefined, { signal }).catch(() => {});
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
    this.#teller.ofBrake(last?.brake ?? [], decision);
    const byName = new Map(seen.nodes.map((node) => [node.name, node]));
    for (const name of decision.withdraw) {
      const node = byName.get(name);
      if (node !== undefined && !this.#busy.has(name) && this.#busy.size < AT_ONCE)
        void this.#withdraw(node, signal);
    }
  }

  async #withdraw(node: FleetNode, signal: AbortSignal): Promise<void> {
    const { kube, log, metrics, settings } = this.#options;
    const { name } = node;
    this.#busy.add(name);
    try {
      const allowed = () => this.#decision?.brake.length === 0;
      const wallMs = () => Date.now();
      const { patience } = settings;
      const done = await withdraw(node, { kube, patience, answers: agentAnswers, allowed, wallMs, signal });
      if ('kept' in done) {
        this.#sight.serve(name); // its timer restarts
        log.info({ node: name, because: done.kept }, 'label kept');
      } else {
        this.#withdrawn.set(node.uid, performance.now());
        metrics.countWithdrawal();
        log.warn({ node: name, reason: 'AgentLost' }, 'label withdrawn');
        this.#teller.ofNode(node, 'AgentLost', done.message);
      }
    } catch (err) {
      if (!signal.aborted) log.warn({ err, node: name, retryInMs: PAUSE_MS }, 'cannot withdraw the label');
      await timers.setTimeout(PAUSE_MS, undefined, { signal }).catch(() => {});
    }
    this.#busy.delete(name);
  }

  #look(): FleetView {
    const { nodes, pods, agents, followedSinceMs } = this.#sight;
    return viewFleet({
      current: followedSinceMs !== undefined,
      nodes,
      pods,
      agents,
      word: (node) => this.#reports.get(node),
      brake: this.#decision?.brake ?? [],
      held: this.#decision?.held ?? [],
    });
  }
}
