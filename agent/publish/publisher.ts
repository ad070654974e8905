import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import { Backoff } from '../../lib/kube/backoff.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { conditionOf, keysOf, type NodeObject, type NodeWrites } from '../../lib/report/node-object.ts';
import type { Report } from '../../lib/report/report.ts';
import { UNGUARDED, type Verdict } from '../../lib/report/verdict.ts';
import { type Desired, desiredOf, type NodeSeen, type Said, seenIn } from './desired.ts';
import { Guard } from './guard.ts';
import { OwnNode } from './own-node.ts';
import { NodeWriter, type WriterOptions } from './writer.ts';

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

export type PublisherOptions = WriterOptions & {
  /** What to say of a handler, now that the Node says this of it. */
  readonly say: (handler: string, node: NodeSeen) => Said;
};

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
  readonly #options: PublisherOptions;
  readonly #writer: NodeWriter;
  readonly #node: OwnNode;
  readonly #guard: Guard;
  readonly #backoff = new Backoff(FIRST_RETRY_MS, MAX_RETRY_MS);
  #failingSinceMs: number | undefined;
  /** The last report of each handler, with the verdict that the Node is to have. */
  readonly #reports = new Map<string, Report>();
  #wake = new AbortController();
  /** Aborted by a report that withdraws a label. */
  #urgent = new AbortController();
  #hasWritten = false;
  #unready: string | undefined = NO_VERDICT;
  #problem: string | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#writer = new NodeWriter(options);
    this.#node = new OwnNode({ ...options, onChange: () => this.#wake.abort() });
    this.#guard = new Guard(options);
  }

  /** A write without an answer has not failed yet. */
  get unready(): string | undefined {
    return this.#unready ?? (this.#isWithdrawing ? NOT_WITHDRAWN : undefined);
  }

  get nodeWrites(): NodeWrites {
    const node = this.#node.lastKnown;
    const unready = this.#reports.size === 0 ? undefined : this.#unready;
    return { condition: node && conditionOf(node), problem: this.#problem ?? unready };
  }

  publish(report: Report): void {
    if (report.provenAt !== this.#reports.get(report.handler)?.provenAt) this.#guard.askAgain();
    const wasWithdrawing = this.#isWithdrawing;
    this.#reports.set(report.handler, report);
    if (!wasWithdrawing && this.#isWithdrawing) this.#urgent.abort();
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#node.watch(signal), this.#keepWriting(signal)]);
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
    if (this.#node.catchUp()) {
      this.#options.log.warn('the node is gone: waiting for it to return');
      this.#resetFailures();
    }
    const { missingForMs } = this.#node;
    if (missingForMs > 0) return Math.min(missingForMs, FOREVER_MS);
    const before = this.#node.current ?? (await this.#writer.read(signal));
    this.#node.set(before);
    // Only a grant needs the guard: a withdrawal is written before it is asked, and grants nothing meanwhile.
    const needsGuard = [...this.#reports.values()].some(({ verdict }) => isProof(verdict));
    if (needsGuard && this.#guard.isDue && !this.#isWithdrawing)
      await this.#guard.ask(signal, this.#urgent.signal);
    const { answer } = this.#guard;
    const isUnguarded = answer === false || (needsGuard && answer === undefined);
    const said = this.#say(seenIn(before, this.#options, isUnguarded));
    const desired = desiredOf(said, before, this.#options);
    if (desired.verdicts.size === 0 && desired.entries.length === 0) return undefined;
    const [main = ''] = this.#options.handlers;
    const { node, waitMs } = await this.#writer.write(before, desired, signal);
    this.#node.set(node);
    this.#resetFailures();
    this.#reportHandlers(before, node, desired);
    if (this.#reports.has(main)) {
      this.#hasWritten = true;
      this.#setUnready(this.#whyUnready(desired));
    }
    const mustAsk = needsGuard && this.#guard.isDue && answer !== false && !this.#isWithdrawing;
    const retryMs = needsGuard && isUnguarded ? UNGUARDED_RETRY_MS : FOREVER_MS;
    return mustAsk ? 0 : Math.min(waitMs ?? FOREVER_MS, retryMs);
  }

  #say(seen: ReadonlyMap<string, NodeSeen>): ReadonlyMap<string, Said> {
    const said = new Map<string, Said>();
    for (const [handler, node] of seen) {
      const saying = this.#options.say(handler, node);
      if (saying.report !== undefined) this.#reports.set(handler, saying.report);
      said.set(handler, saying);
    }
    return said;
  }

  #whyUnready({ verdicts, refusal }: Desired): string | undefined {
    const verdict = verdicts.get(this.#options.handlers[0] ?? '');
    if (verdict?.reason === 'NodeRebooted') return verdict.message;
    const isUnguarded = verdict !== undefined && isProof(verdict) && this.#guard.answer === false;
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

  /** Returns the time until the next try. */
  #failed(err: unknown): number {
    this.#node.setUnknown();
    const { log, node, now } = this.#options;
    if (err instanceof KubeError && err.status === 404) {
      log.warn({ err }, 'the node does not exist: waiting for it');
      this.#unready = `there is no Node "${node}": is NODE_NAME right?`;
      this.#node.setMissing();
      return 0;
    }
    const retryInMs = this.#backoff.next(err, this.#isWithdrawing ? MAX_WITHDRAWAL_RETRY_MS : undefined);
    log.warn({ err, retryInMs }, 'cannot write the node');
    const problem = errorLine(err);
    this.#problem = problem;
    if (!this.#hasWritten) this.#unready = `the first verdict is not in the Node yet: ${problem}`;
    else if (this.#isWithdrawing) this.#unready = `${NOT_WITHDRAWN}: ${problem}`;
    this.#failingSinceMs ??= now();
    const failedForMs = now() - this.#failingSinceMs;
    if (failedForMs < OUTAGE_MS) return retryInMs;
    const minutes = Math.floor(failedForMs / 60_000);
    this.#unready = `the Node could not be written for ${minutes} min: ${problem}`;
    return retryInMs;
  }

  get #isWithdrawing(): boolean {
    const { labels = {} } = this.#node.lastKnown?.metadata ?? {};
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
