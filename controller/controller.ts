import timers from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { memoize } from '../lib/base/async.ts';
import type { Reason } from '../lib/base/reasons.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { BREAKER_REASONS, type BreakerReason } from '../lib/fleet/alarms.ts';
import { GuardWatch } from '../lib/fleet/guards.ts';
import { type FleetNode, isExposed, isRebooted } from '../lib/fleet/objects.ts';
import { refutationOf } from '../lib/fleet/refutation.ts';
import {
  DoneTimes,
  type InstallerPod,
  installerPodOf,
  SCHEDULED,
  type Turns,
  turnsOf,
} from '../lib/fleet/turns.ts';
import { type EgressVerdict, type FleetView, rowEgressOf, viewFleet } from '../lib/fleet/view.ts';
import { DAEMON_SET } from '../lib/kube/access.ts';
import { Backoff } from '../lib/kube/backoff.ts';
import type { ApiAccess } from '../lib/kube/client.ts';
import { KubeError } from '../lib/kube/error.ts';
import { createEventSender, type EventSender } from '../lib/kube/event.ts';
import { pagesOf } from '../lib/kube/pages.ts';
import { AgentClient } from './agent-client.ts';
import { failingCanaries } from './canaries.ts';
import { type Clock, DAMPING_MS, type Decision, decide, TICK_MS } from './decide.ts';
import { type EgressMemory, egressLabelFor, judgeEgress, rememberEgress } from './egress.ts';
import { writeEgressLabel } from './egress-label.ts';
import { ClusterCache, type Observed } from './informers.ts';
import { Lateness } from './lateness.ts';
import type { FleetMetrics } from './metrics.ts';
import { AgentReports } from './reports.ts';
import type { FleetConfig } from './settings.ts';
import { taintExposed, type Withdrawal, withdraw, withdrawRebooted, withdrawRefuted } from './withdraw.ts';

/** The admission policy allows no other reporting component. */
const COMPONENT = 'gvisor-ready-fleet';
/** Nodes that are written concurrently. */
const MAX_WRITES = 16;
/** A write that never succeeds must not occupy the API server. */
const MIN_BACKOFF_MS = 5_000;
const MAX_BACKOFF_MS = 600_000;
const VIEW_CACHE_MS = 1_000;
/** A decision so late means that the loop has stalled. */
const STALLED_MS = 30_000;

/** The time that decisions and writes see. */
export type FleetTime = {
  readonly clock: () => Clock;
  /** Resolves after `ms`, or when the signal aborts. */
  readonly rest: (ms: number, signal: AbortSignal) => Promise<void>;
};

const REAL_TIME: FleetTime = {
  clock: () => ({ nowMs: performance.now(), wallMs: Date.now() }),
  rest: (ms, signal) => timers.setTimeout(ms, undefined, { signal }).catch(() => {}),
};

/** `retryMs` is monotonic. */
type FailedWrite = { readonly problem: string; readonly backoff: Backoff; readonly retryMs: number };

/** `time` is the real one by default. */
export type FleetOptions = ApiAccess & {
  readonly settings: Pick<FleetConfig, 'timeouts' | 'taint' | 'reportIntervalMs'> &
    Partial<Pick<FleetConfig, 'guardsFromFiles' | 'egressNamespace'>>;
  readonly metrics: FleetMetrics;
  readonly time?: FleetTime;
};

/**
 * Withdraws what rebooted nodes and lost agents said, and what agents refute. Decides every two
 * seconds, and at once when a node reboots.
 */
export class FleetController {
  readonly #options: FleetOptions;
  readonly #time: FleetTime;
  readonly #cache: ClusterCache;
  readonly #agents = new AgentClient();
  readonly #reports: AgentReports;
  readonly #guards: GuardWatch;
  readonly #events: EventSender;
  /** Monotonic, by uid. */
  readonly #withdrawn = new Map<string, readonly number[]>();
  /** The nodes whose latest write failed, by name. */
  readonly #failedWrites = new Map<string, FailedWrite>();
  /** With a write in flight, or one that the watch has not shown yet. */
  readonly #busy = new Set<string>();
  #writes = 0;
  #isSaturated = false;
  #wake = new AbortController();
  #decision: Decision | undefined;
  #egressMemory: ReadonlyMap<string, EgressMemory> = new Map();
  /** By name of the node. */
  #egress: ReadonlyMap<string, EgressVerdict> = new Map();
  /** The value that the label must get, by name of the node. */
  #egressLabels: ReadonlyMap<string, 'true' | 'false'> = new Map();
  readonly #view = memoize(
    () => this.#makeView(),
    VIEW_CACHE_MS,
    () => this.#nowMs,
  );
  readonly #doneTimes = new DoneTimes();
  readonly #lateness = new Lateness();
  #decidedMs: number;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#time = options.time ?? REAL_TIME;
    this.#decidedMs = this.#nowMs;
    this.#cache = new ClusterCache(options, {
      onNode: (node) => {
        this.#reports.noteNode(node);
        if (isRebooted(node) || (options.settings.taint && isExposed(node))) this.#wake.abort();
      },
      onRelist: () => this.#reports.expireAll(),
      egressNamespace: options.settings.egressNamespace,
    });
    this.#reports = new AgentReports(this.#agents, options.settings.reportIntervalMs, {
      now: () => this.#nowMs,
    });
    this.#guards = new GuardWatch({
      ...options,
      settings: () => this.#cache.agentSettings,
      fromFiles: options.settings.guardsFromFiles ?? false,
      rest: this.#time.rest,
      now: () => this.#nowMs,
    });
    this.#events = createEventSender(options, { component: COMPONENT });
  }

  /** Monotonic, milliseconds. */
  get #nowMs(): number {
    return this.#time.clock().nowMs;
  }

  readonly #wallMs = (): number => this.#time.clock().wallMs;

  get live(): boolean {
    return this.#nowMs - this.#decidedMs < STALLED_MS;
  }

  /** Whether the whole fleet has been listed once. */
  get ready(): boolean {
    return this.#decision?.memory.watchesUpAtMs !== undefined;
  }

  /** Cached for a second. */
  get view(): FleetView {
    return this.#view();
  }

  /** What the node's agent says of it, unsanitized. Undefined without an agent. */
  agentText(node: string): Promise<string | undefined> | undefined {
    const pods = this.#cache.pods.filter((pod) => pod.node === node && pod.address !== '');
    const { address } = pods.find(({ ready }) => ready) ?? pods[0] ?? {};
    return address === undefined ? undefined : this.#agents.text(address);
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#cache.run(signal),
      this.#reports.run(() => this.#cache.pods, signal),
      this.#guards.run(signal),
      this.#reconcileLoop(signal),
      this.#turnsLoop(signal),
    ]);
  }

  /** As far as the watches show. */
  get #turns(): Turns {
    return this.#turnsOf(this.#cache.installers);
  }

  #turnsOf(pods: readonly InstallerPod[]): Turns {
    const { paces, nodes } = this.#cache;
    const nowMs = this.#nowMs;
    const doneForMs = (pod: InstallerPod) => this.#doneTimes.doneForMs(pod, nowMs);
    return turnsOf(pods, { paces, nodes, doneForMs, wallMs: this.#wallMs() });
  }

  async #turnsLoop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let pauseMs = TICK_MS;
      this.#doneTimes.see(this.#cache.installers, this.#nowMs);
      if (this.#cache.watchesUpSinceMs !== undefined && this.#turns.begin.length > 0)
        await this.#beginTurns(signal).catch((err: unknown) => {
          this.#options.log.warn({ err }, 'cannot begin the turn of an installer');
          pauseMs = MIN_BACKOFF_MS;
        });
      await this.#time.rest(pauseMs, signal);
    }
  }

  /**
   * Binds pods as a scheduler does. Decides again by a list, so that neither a late watch nor another controller
   * lets more nodes begin.
   */
  async #beginTurns(signal: AbortSignal): Promise<void> {
    const { kube, namespace, log } = this.#options;
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const get = (page: string) => kube.get(page, signal);
    const pods: InstallerPod[] = [];
    for await (const { items = [] } of pagesOf<V1Pod>(get, path, { fieldSelector: SCHEDULED, limit: '250' }))
      pods.push(...items.flatMap((pod) => installerPodOf(pod) ?? []));
    for (const { name, uid, node } of this.#turnsOf(pods).begin) {
      const target = { apiVersion: 'v1', kind: 'Node', name: node };
      const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name, uid }, target };
      await kube.post(`${path}/${name}/binding`, binding);
      log.info({ node }, 'the installer begins');
    }
  }

  async #reconcileLoop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = new AbortController();
      this.#reconcile(signal);
      const dueMs = this.#nowMs + TICK_MS;
      await this.#time.rest(TICK_MS, AbortSignal.any([signal, this.#wake.signal]));
      this.#lateness.note(this.#nowMs - dueMs, this.#nowMs);
    }
  }

  #reconcile(signal: AbortSignal): void {
    const { timeouts, taint } = this.#options.settings;
    const clock = this.#time.clock();
    this.#decidedMs = clock.nowMs;
    const cached = this.#cache.observe();
    const observed = { ...cached, withdrawn: this.#withdrawn, ...this.#compare(cached.nodes) };
    const last = this.#decision;
    const decision = decide(observed, last?.memory, clock, timeouts);
    this.#decision = decision;
    this.#judgeEgress(cached.nodes, clock.nowMs);
    this.#forget(clock.nowMs);
    this.#reportBreaker(last?.breaker ?? [], decision);
    const byName = new Map(observed.nodes.map((node) => [node.name, node]));
    this.#isSaturated = false;
    const start = (names: Iterable<string>, write: (node: FleetNode) => Promise<void>) => {
      for (const name of names) {
        const node = byName.get(name);
        const { retryMs = 0 } = this.#failedWrites.get(name) ?? {};
        if (node === undefined || this.#busy.has(name) || clock.nowMs < retryMs) continue;
        if (this.#writes < MAX_WRITES) void this.#write(name, () => write(node), signal);
        else this.#isSaturated = true;
      }
    };
    start(decision.rebooted, (node) => this.#withdrawRebooted(node, signal));
    if (taint) start(decision.exposed, (node) => this.#taint(node, signal));
    start(decision.refuted, (node) => this.#withdrawRefuted(node, signal));
    start(decision.withdraw.keys(), (node) =>
      this.#withdrawLost(node, decision.withdraw.get(node.name) ?? timeouts.agentTimeoutMs, signal),
    );
    start(this.#egressLabels.keys(), (node) => this.#labelEgress(node, signal));
  }

  #judgeEgress(all: readonly FleetNode[], nowMs: number): void {
    // Without the component only a label that it has left is of interest: it goes.
    const nodes = this.#hasEgress ? all : all.filter(({ egress }) => egress === 'true');
    const pods = this.#cache.egress;
    const isBreakerOpen = (this.#decision?.breaker.length ?? 0) > 0;
    const verdicts = new Map<string, EgressVerdict>();
    const labels = new Map<string, 'true' | 'false'>();
    this.#egressMemory = rememberEgress({ nodes, pods }, this.#egressMemory, nowMs);
    for (const node of nodes) {
      const memory = this.#egressMemory.get(node.name);
      if (memory === undefined) continue;
      const verdict = judgeEgress(node, { pods: pods?.get(node.name) ?? [], memory, nowMs });
      verdicts.set(node.name, verdict);
      const value = egressLabelFor(node, verdict, isBreakerOpen);
      if (value !== undefined) labels.set(node.name, value);
    }
    this.#egress = verdicts;
    this.#egressLabels = labels;
  }

  get #hasEgress(): boolean {
    return this.#options.settings.egressNamespace !== undefined;
  }

  async #labelEgress(node: FleetNode, signal: AbortSignal): Promise<void> {
    const [value, verdict] = [this.#egressLabels.get(node.name), this.#egress.get(node.name)];
    if (value === undefined || verdict === undefined) return;
    if (!(await writeEgressLabel(node, value, { ...this.#options, signal }))) return;
    const because = rowEgressOf(verdict).message;
    this.#options.log.info({ node: node.name, value, because }, 'label egress-closed written');
  }

  /** Nodes with what their agents say. */
  #compare(nodes: readonly FleetNode[]): Pick<Observed, 'living' | 'refuted'> {
    const living = new Set<string>();
    const refuted = new Map<string, boolean>();
    for (const node of nodes) {
      const { statement, live = false } = this.#reports.get(node.name) ?? {};
      if (live) living.add(node.name);
      if (statement !== undefined) refuted.set(node.name, refutationOf(node, statement) !== undefined);
    }
    return { living, refuted };
  }

  #forget(nowMs: number): void {
    for (const [uid, times] of this.#withdrawn) {
      const recent = times.filter((atMs) => nowMs - atMs < DAMPING_MS);
      if (recent.length === 0) this.#withdrawn.delete(uid);
      else if (recent.length < times.length) this.#withdrawn.set(uid, recent);
    }
    for (const name of this.#failedWrites.keys())
      if (!this.#busy.has(name) && !isWanted(this.#decision, name) && !this.#egressLabels.has(name))
        this.#failedWrites.delete(name);
  }

  /** Leaves the Node alone until the watch has caught up. */
  async #write(name: string, write: () => Promise<void>, signal: AbortSignal): Promise<void> {
    this.#busy.add(name);
    this.#writes++;
    const error = await write().then(
      () => undefined,
      (err: unknown) => ({ err }),
    );
    this.#writes--;
    // A starting kubelet writes its Node at the same moment.
    const isConflict = error?.err instanceof KubeError && error.err.status === 409;
    if (isConflict || (this.#isSaturated && this.#writes < MAX_WRITES / 2)) this.#wake.abort();
    if (error === undefined) {
      this.#failedWrites.delete(name);
      await this.#time.rest(TICK_MS, signal);
    } else if (!signal.aborted) {
      const retryInMs = isConflict ? 0 : this.#failed(name, error.err);
      this.#options.log.warn({ err: error.err, node: name, retryInMs }, 'cannot write the node');
    }
    this.#busy.delete(name);
  }

  /** Returns the time until the next try. */
  #failed(name: string, err: unknown): number {
    const { backoff = new Backoff(MIN_BACKOFF_MS, MAX_BACKOFF_MS) } = this.#failedWrites.get(name) ?? {};
    const retryInMs = backoff.next(err);
    this.#failedWrites.set(name, { backoff, problem: errorLine(err), retryMs: this.#nowMs + retryInMs });
    return retryInMs;
  }

  async #withdrawLost(node: FleetNode, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const isAgentLive = (address: string) => this.#agents.isLive(address);
    const options = { ...this.#writeOptions(signal), timeoutMs, isAgentLive };
    const done = await withdraw(node, options);
    if ('kept' in done) this.#cache.markReady(node.name); // restarts its timer
    this.#report(node, 'AgentLost', done);
  }

  async #withdrawRefuted(node: FleetNode, signal: AbortSignal): Promise<void> {
    const done = await withdrawRefuted(node, {
      ...this.#writeOptions(signal),
      isAllowed: () => this.#decision?.away === false,
      fetchReport: (address) => this.#agents.report(address, signal),
    });
    if ('kept' in done) this.#reports.dropStatement(node.name); // it is due again once the report is read
    this.#report(node, 'AgentCannotWrite', done);
  }

  async #withdrawRebooted(node: FleetNode, signal: AbortSignal): Promise<void> {
    this.#report(node, 'NodeRebooted', await withdrawRebooted(node, this.#writeOptions(signal)));
  }

  async #taint(node: FleetNode, signal: AbortSignal): Promise<void> {
    if (await taintExposed(node, this.#writeOptions(signal)))
      this.#options.log.info({ node: node.name }, 'node tainted until it is proven again');
  }

  #writeOptions(signal: AbortSignal) {
    const { kube, namespace } = this.#options;
    const isAllowed = () => this.#decision?.breaker.length === 0;
    return { kube, namespace, isAllowed, wallMs: this.#wallMs, signal };
  }

  #report(node: FleetNode, reason: Reason, done: Withdrawal): void {
    const { log, metrics } = this.#options;
    if ('kept' in done) {
      log.info({ node: node.name, because: done.kept }, 'label kept');
      return;
    }
    if (done.labels > 0) metrics.countWithdrawal();
    if (done.labels > 0 && reason === 'AgentLost')
      this.#withdrawn.set(node.uid, [...(this.#withdrawn.get(node.uid) ?? []), this.#nowMs]);
    log.warn({ node: node.name, reason }, done.labels > 0 ? 'label withdrawn' : 'failure withdrawn');
    const about = { kind: 'Node', name: node.name, uid: node.uid };
    this.#events.send({ about, type: 'Warning', reason, message: done.message });
  }

  /** Reports that the circuit breaker opened or closed. */
  #reportBreaker(
    last: readonly BreakerReason[],
    { breaker, paused }: Pick<Decision, 'breaker' | 'paused'>,
  ): void {
    for (const reason of breaker) {
      if (last.includes(reason)) continue;
      this.#options.log.warn({ reason, paused }, 'circuit breaker open, withdrawals are paused');
      const message = `${reason}: ${BREAKER_REASONS[reason]} No label is withdrawn.`;
      this.#sendOnDaemonSet('Warning', 'WithdrawalsPaused', message);
    }
    if (breaker.length > 0 || last.length === 0) return;
    this.#options.log.info({ was: last }, 'circuit breaker closed; all timers restart');
    this.#sendOnDaemonSet('Normal', 'WithdrawalsResumed', `${last.join(', ')} ended. All timers restart.`);
  }

  #sendOnDaemonSet(type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { namespace } = this.#options;
    const about = { kind: 'DaemonSet', apiVersion: 'apps/v1', namespace, name: DAEMON_SET };
    this.#events.send({ about, type, reason, message });
  }

  #makeView(): FleetView {
    const { nodes, pods, agents, canaries, watchesUpSinceMs } = this.#cache;
    return viewFleet({
      upToDate: watchesUpSinceMs !== undefined,
      nowMs: this.#nowMs,
      nodes,
      pods,
      agents,
      statusOf: (node) => this.#reports.get(node),
      reportIntervalMs: this.#reports.routineMs,
      lateMs: this.#lateness.worstMs,
      silentMs: performance.now() - this.#cache.silentSinceMs,
      guards: this.#guards.state,
      breaker: this.#decision?.breaker ?? [],
      paused: this.#decision?.paused ?? [],
      rolling: this.#decision?.rolling ?? false,
      damped: this.#decision?.damped ?? [],
      turns: this.#turns,
      failingCanaries: failingCanaries(canaries, this.#wallMs()),
      egress: this.#hasEgress ? this.#egress : undefined,
      failedWrites: new Map([...this.#failedWrites].map(([name, { problem }]) => [name, problem])),
    });
  }
}

function isWanted(decision: Decision | undefined, name: string): boolean {
  const { withdraw, refuted = [], rebooted = [], exposed = [] } = decision ?? {};
  return withdraw?.has(name) || [refuted, rebooted, exposed].some((names) => names.includes(name));
}
