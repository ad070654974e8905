import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import { Backoff } from '../../lib/kube/backoff.ts';
import type { WatchEvent } from '../../lib/kube/client.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { keepWatching } from '../../lib/kube/watch.ts';
import {
  conditionOf,
  isOlder,
  keysOf,
  type NodeMetadata,
  type NodeObject,
  type NodeWrites,
} from '../../lib/report/node-object.ts';
import type { Report } from '../../lib/report/report.ts';
import { UNGUARDED, type Verdict } from '../../lib/report/verdict.ts';
import { type Desired, desiredOf, seenIn } from './desired.ts';
import { type NodeOptions, NodeWriter } from './writer.ts';

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 30_000;
/** While a label is to be withdrawn: a few nodes at a time, as a rule. */
const MAX_WITHDRAWAL_RETRY_MS = 3_000;
/** Writes that fail for this long make the agent unready. */
const OUTAGE_MS = 300_000;
const UNGUARDED_RETRY_MS = 5_000;
export const NO_VERDICT = 'no verdict has been published yet';
const NOT_WITHDRAWN = 'the label is not withdrawn from the Node yet';
/** The longest delay that a timer takes. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * Keeps a Node in its desired state:
 *
 * 1. Labels, annotations and condition are one PATCH, the taint another, sent only for a difference.
 * 2. A watch shows what other clients change; that is restored, with a backoff per key.
 * 3. The label is granted only after the API server has refused a dry run of a write that is not the agent's.
 * 4. Failed writes are retried with backoff, and only the latest report is written.
 * 5. A withdrawal waits for no question to the guard, and for no retry of a write that came before it.
 */
export class NodePublisher {
  readonly #options: NodeOptions;
  readonly #writer: NodeWriter;
  readonly #backoff = new Backoff(FIRST_RETRY_MS, MAX_RETRY_MS);
  #failingSinceMs: number | undefined;
  readonly #reports = new Map<string, Report>();
  /** Not processed yet. */
  #event: WatchEvent | undefined;
  #watched: NodeMetadata | undefined;
  #wake = new AbortController();
  /** Aborted by a report that withdraws a label. */
  #urgent = new AbortController();
  /** Undefined if it must be read. */
  #node: NodeObject | undefined;
  /** The Node before writes began to fail. */
  #seen: NodeObject | undefined;
  /** Until then the Node counts as deleted, unless the watch shows it. */
  #goneUntilMs = 0;
  #wrote = false;
  /** Whether the policy has refused a write that is not the agent's; undefined before it was asked. */
  #guarded: boolean | undefined;
  /** The policy may be gone since the last proof. */
  #mustAsk = true;
  #unready: string | undefined = NO_VERDICT;
  #problem: string | undefined;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#writer = new NodeWriter(options);
  }

  /** A write without an answer has not failed yet. */
  get unready(): string | undefined {
    return this.#unready ?? (this.#isWithdrawing ? NOT_WITHDRAWN : undefined);
  }

  get nodeWrites(): NodeWrites {
    const node = this.#node ?? this.#seen;
    const unready = this.#reports.size === 0 ? undefined : this.#unready;
    return { condition: node && conditionOf(node), problem: this.#problem ?? unready };
  }

  publish(report: Report): void {
    if (report.provenAt !== this.#reports.get(report.handler)?.provenAt) this.#mustAsk = true;
    const wasWithdrawing = this.#isWithdrawing;
    this.#reports.set(report.handler, report);
    if (!wasWithdrawing && this.#isWithdrawing) this.#urgent.abort();
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { kube, node, log } = this.#options;
    const path = `/api/v1/nodes?fieldSelector=metadata.name%3D${node}`;
    const onEvent = (event: WatchEvent) => this.#onEvent(event);
    await Promise.all([
      keepWatching({ kube, path, whole: true, log, onEvent }, signal),
      this.#keepWriting(signal),
    ]);
  }

  #onEvent(event: WatchEvent): void {
    if (event.type === 'BOOKMARK') return;
    this.#event = event;
    this.#wake.abort();
  }

  async #keepWriting(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const waitMs = (await this.#reconcile(signal)) ?? FOREVER_MS;
        if (waitMs === 0) continue;
        const woken = AbortSignal.any([signal, this.#wake.signal]);
        await timers.setTimeout(waitMs, undefined, { signal: woken }).catch(() => {});
      } catch (err) {
        if (signal.aborted) return;
        const retryInMs = this.#failed(err);
        const woken = AbortSignal.any([signal, this.#urgent.signal]);
        if (retryInMs > 0) await timers.setTimeout(retryInMs, undefined, { signal: woken }).catch(() => {});
      }
    }
  }

  /** Returns the time until it must run again, 0 for at once, undefined for the next event. */
  async #reconcile(signal: AbortSignal): Promise<number | undefined> {
    this.#wake = new AbortController();
    this.#urgent = new AbortController();
    this.#processEvent();
    const goneMs = this.#goneUntilMs - this.#options.now();
    if (goneMs > 0) return Math.min(goneMs, FOREVER_MS);
    this.#node ??= await this.#writer.read(signal);
    // Only a grant needs the guard: a withdrawal is written before it is asked, and grants nothing meanwhile.
    const needsGuard = [...this.#reports.values()].some(({ verdict }) => isProof(verdict));
    if (needsGuard && this.#mustAsk && !this.#isWithdrawing) await this.#askGuard(signal);
    const isUnguarded = this.#guarded === false || (needsGuard && this.#guarded === undefined);
    const seenNode = seenIn(this.#node, this.#options, isUnguarded);
    for (const [handler, seen] of seenNode) this.#options.onNode?.(handler, seen);
    const desired = desiredOf(this.#reports, this.#node, this.#options, seenNode);
    if (desired.verdicts.size === 0 && desired.entries.length === 0) return undefined;
    const before = this.#node;
    const [main = ''] = this.#options.handlers;
    const { node, waitMs } = await this.#writer.write(before, desired, signal);
    this.#node = node;
    this.#resetFailures();
    this.#reportHandlers(before, node, desired);
    if (this.#reports.has(main)) {
      this.#wrote = true;
      this.#setUnready(this.#whyUnready(desired));
    }
    const mustAsk = needsGuard && this.#mustAsk && this.#guarded !== false && !this.#isWithdrawing;
    const retryMs = needsGuard && isUnguarded ? UNGUARDED_RETRY_MS : FOREVER_MS;
    return mustAsk ? 0 : Math.min(waitMs ?? FOREVER_MS, retryMs);
  }

  /** Without an answer the earlier one holds until the next proof. */
  async #askGuard(signal: AbortSignal): Promise<void> {
    this.#mustAsk = false;
    const urgent = this.#urgent.signal;
    try {
      this.#guarded = await this.#writer.isGuarded(AbortSignal.any([signal, urgent]));
    } catch (err) {
      if (urgent.aborted && !signal.aborted) {
        this.#mustAsk = true;
        return;
      }
      if (this.#guarded === undefined || signal.aborted) throw err;
      this.#options.log.warn({ err }, 'cannot ask whether an admission policy limits this agent');
    } finally {
      if (!this.#guarded) this.#mustAsk = true;
    }
  }

  #whyUnready({ verdicts, refusal }: Desired): string | undefined {
    const verdict = verdicts.get(this.#options.handlers[0] ?? '');
    if (verdict?.reason === 'NodeRebooted') return verdict.message;
    const isUnguarded = verdict !== undefined && isProof(verdict) && this.#guarded === false;
    return isUnguarded ? `${UNGUARDED.reason}: ${UNGUARDED.message}` : refusal;
  }

  #reportHandlers(before: NodeObject, after: NodeObject, { verdicts }: Desired): void {
    for (const handler of this.#options.handlers.slice(1)) {
      const verdict = verdicts.get(handler);
      const { ready } = keysOf(handler);
      if (verdict === undefined || before.metadata.labels?.[ready] === after.metadata.labels?.[ready])
        continue;
      const message = `handler "${handler}": ${verdict.message}`;
      this.#options.onChange?.({ ...verdict, message }, after.metadata.uid);
    }
  }

  #setUnready(unready: string | undefined): void {
    if (unready !== undefined && unready !== this.#unready)
      this.#options.log.warn({ unready }, 'not ready: the rollout waits');
    this.#unready = unready;
  }

  #processEvent(): void {
    const event = this.#event;
    this.#event = undefined;
    if (event === undefined) return;
    if (event.type === 'DELETED') {
      this.#options.log.warn('the node is gone: waiting for it to return');
      this.#node = undefined;
      this.#seen = undefined;
      this.#goneUntilMs = Number.POSITIVE_INFINITY;
      this.#resetFailures();
      return;
    }
    this.#goneUntilMs = 0;
    const node = event.object as NodeObject;
    // A new watch may start with an older version, from an API server that lags behind: a read decides.
    const wentBack = this.#watched !== undefined && isOlder(node.metadata, this.#watched);
    this.#watched = node.metadata;
    const known = this.#node;
    // An event may be older than the response to the agent's own write.
    if (known === undefined || (!wentBack && isOlder(node.metadata, known.metadata))) return;
    this.#node = wentBack || node.metadata.uid !== known.metadata.uid ? undefined : node;
  }

  /** Returns the time until the next try. */
  #failed(err: unknown): number {
    this.#seen = this.#node ?? this.#seen;
    this.#node = undefined; // Its state is unknown now.
    const { log, node, now } = this.#options;
    if (err instanceof KubeError && err.status === 404) {
      log.warn({ err }, 'the node does not exist: waiting for it');
      this.#unready = `there is no Node "${node}": is NODE_NAME right?`;
      // Tried again later even without an event, since the 404 may be a proxy's.
      this.#goneUntilMs = now() + MAX_RETRY_MS;
      return 0;
    }
    const retryInMs = this.#backoff.next(err, this.#isWithdrawing ? MAX_WITHDRAWAL_RETRY_MS : undefined);
    log.warn({ err, retryInMs }, 'cannot write the node');
    const problem = errorLine(err);
    this.#problem = problem;
    if (!this.#wrote) this.#unready = `the first verdict is not in the Node yet: ${problem}`;
    else if (this.#isWithdrawing) this.#unready = `${NOT_WITHDRAWN}: ${problem}`;
    this.#failingSinceMs ??= now();
    const failedForMs = now() - this.#failingSinceMs;
    if (failedForMs < OUTAGE_MS) return retryInMs;
    const minutes = Math.floor(failedForMs / 60_000);
    this.#unready = `the Node could not be written for ${minutes} min: ${problem}`;
    return retryInMs;
  }

  get #isWithdrawing(): boolean {
    const { labels = {} } = (this.#node ?? this.#seen)?.metadata ?? {};
    const [main] = this.#options.handlers;
    return [...this.#reports.values()].some(({ handler, verdict }) => {
      const { ready } = keysOf(handler === main ? undefined : handler);
      return verdict.status !== 'True' && labels[ready] === 'true';
    });
  }

  #resetFailures(): void {
    this.#problem = undefined;
    this.#failingSinceMs = undefined;
    this.#backoff.reset();
  }
}

/** True also for a proof that only the guard withholds. */
function isProof({ status, reason }: Verdict): boolean {
  return status === 'True' || reason === UNGUARDED.reason;
}
