import type { Logger } from 'pino';
import { TimeoutError, waitUpTo, withTimeout } from './async.ts';
import type { Evaluation } from './evaluate.ts';
import type { Facts, Finding } from './finding.ts';
import {
  applyHysteresis,
  type HysteresisResult,
  type HysteresisState,
  type Thresholds,
} from './hysteresis.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Publisher } from './report.ts';
import { type Report, STARTING, type Transition } from './report.ts';
import { errorLine } from './sanitize.ts';
import type { EventQueue } from './trigger/event-queue.ts';
import { type Trigger, triggerText } from './trigger/event-queue.ts';
import type { FileTrigger } from './trigger/files.ts';
import type { Verdict } from './verdict.ts';

/** What the loop is made of; everything that touches the world comes from `main.ts`. */
export type AgentOptions = {
  readonly version: string;
  readonly node: string;
  readonly handler: string;
  /** Facts that do not change while the agent runs. */
  readonly facts: Facts;
  /** A look because of these events; `standing` is the last proof, while it is young enough to stand. */
  readonly evaluate: (
    signal: AbortSignal,
    triggers: readonly Trigger[],
    standing: Outcome | undefined,
  ) => Promise<Evaluation>;
  /** Marks a verdict that a busy node is to blame for. */
  readonly markTolerated: (verdict: Verdict) => Promise<Verdict>;
  readonly evaluationTimeoutMs?: number;
  readonly queue: EventQueue<Trigger>;
  readonly files: FileTrigger;
  readonly publishers: readonly Publisher[];
  readonly thresholds: Thresholds;
  readonly proofIntervalMs: number;
  readonly log: Logger;
  /** Monotonic and wall clock, milliseconds. */
  readonly now: () => number;
  readonly date: () => Date;
};

const HISTORY = 50;
/** A node that is not ready costs pods their place, and its cause may end without a file that changes. */
const NOT_READY_INTERVAL_MS = 60_000;
const ROUND_TIMEOUT_MS = 90_000;
/** How much later than it should the loop may turn before it counts as stalled. */
const SLACK_MS = 60_000;
/** How long the loop waits for watches to be set: a dead mount may never answer. */
const WATCH_MS = 15_000;

/** The loop: wait for a trigger, look, settle, publish. It holds the state that is settled with. */
export class Agent {
  readonly #options: AgentOptions & { readonly evaluationTimeoutMs: number };
  #state: HysteresisState = {};
  #last: Evaluation | undefined;
  #history: readonly Transition[] = [];
  #facts: Facts = {};
  #findings: readonly Finding[] = [];
  #proven: Outcome | undefined;
  #provenAt: string | undefined;
  #provenMs = Number.NEGATIVE_INFINITY;
  #report: Report | undefined;
  /** When the loop turns next, at the latest. */
  #dueMs: number;

  constructor(options: AgentOptions) {
    this.#options = { evaluationTimeoutMs: ROUND_TIMEOUT_MS, ...options };
    this.#dueMs = options.now() + this.#options.evaluationTimeoutMs;
  }

  /** The newest report, absent before the first look has ended. */
  get report(): Report | undefined {
    return this.#report;
  }

  /** Whether there is a verdict of this agent's own; before, what a predecessor published stands. */
  get settled(): boolean {
    return this.#state.published !== undefined;
  }

  /** Whether the loop turns: a round ends within its time, and the next one begins when it is due. */
  get live(): boolean {
    return this.#options.now() < this.#dueMs + SLACK_MS;
  }

  /** Looks again and again until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    let triggers: readonly Trigger[] = [{ kind: 'start' }];
    while (!signal.aborted) {
      const settled = await this.reconcile(triggers, signal).catch((err: unknown) => {
        if (!signal.aborted) this.#options.log.error({ err }, 'round failed');
        return undefined;
      });
      triggers = await this.#next(settled, signal).catch(() => []);
    }
  }

  async #next(settled: HysteresisResult | undefined, signal: AbortSignal): Promise<readonly Trigger[]> {
    const { queue, now, proofIntervalMs } = this.#options;
    const ready = this.#state.published?.status === 'True';
    const interval = ready ? proofIntervalMs : Math.min(proofIntervalMs, NOT_READY_INTERVAL_MS);
    const jittered = interval * (0.9 + 0.2 * Math.random());
    const again = settled?.requeueAfterMs;
    const seenMs = this.#last?.seenMs ?? now();
    // A timer may end a moment early, and a look that comes too early confirms nothing.
    const rest = again === undefined ? jittered : Math.ceil(seenMs + again - now()) + 1;
    const waitMs = Math.max(rest, 1);
    this.#dueMs = now() + waitMs;
    const events = await queue.wait(waitMs, signal);
    return events.length > 0 ? events : [{ kind: again === undefined ? 'timer' : 'confirm' }];
  }

  /** One look because of these events, and what follows from it. Rejects when the signal is aborted. */
  async reconcile(triggers: readonly Trigger[], signal: AbortSignal): Promise<HysteresisResult> {
    const { files, publishers, thresholds, evaluationTimeoutMs, now, log } = this.#options;
    const begun = now();
    this.#dueMs = begun + evaluationTimeoutMs;
    const begunAt = this.#options.date().getTime();
    const trigger = firstOf(triggers);
    const seen = await this.#evaluate(triggers, signal);
    const before = this.#last;
    this.#last = seen;
    // Set before anything is told: a reader of the verdict may change a file at once, and the trigger must name it.
    await waitUpTo(files.watch(seen.watch, begunAt), WATCH_MS, signal);
    const old = this.#state.published;
    const settled = applyHysteresis(this.#state, seen.verdict, seen.seenMs, thresholds);
    this.#state = settled.state;
    // What a look could not tell again stays as it was last told. One that settles nothing, or saw nothing, tells only what is
    // new: files name another platform and release than the sandbox of a proof where a wrapper starts runsc.
    const { publish } = settled;
    const tells = publish !== undefined && (publish.status !== 'Unknown' || seen.proof.kind === 'proven');
    this.#facts = tells ? { ...this.#facts, ...seen.facts } : { ...seen.facts, ...this.#facts };
    if (seen.proof.kind === 'proven' && seen.proof !== this.#proven) {
      this.#proven = seen.proof;
      this.#provenAt = this.#options.date().toISOString();
      this.#provenMs = now();
    }
    if (publish !== undefined && (publish.status !== old?.status || publish.reason !== old.reason)) {
      const transition = { ...publish, at: this.#options.date().toISOString() };
      this.#history = [transition, ...this.#history].slice(0, HISTORY);
      log.info({ ...publish, trigger }, 'verdict changed');
    }
    this.#findings = publish === undefined ? withTold(seen.findings, this.#findings) : seen.findings;
    this.#report = this.#reportOf(seen, trigger, now() - begun);
    if (seen.verdict.status === 'Unknown' && seen.verdict.reason !== before?.verdict.reason)
      log.info({ ...seen.verdict, trigger }, 'the node cannot be judged just now');
    log.debug({ look: this.#report.evaluation, proof: seen.proof }, 'looked');
    for (const publisher of publishers) publisher.count?.(this.#report);
    // Before anything is settled, what a predecessor published stands.
    if (this.#state.published !== undefined)
      for (const publisher of publishers) publisher.publish(this.#report);
    return settled;
  }

  /** A look; one that does not end in time, whatever it waits for, or fails, is one that could not see. */
  async #evaluate(triggers: readonly Trigger[], signal: AbortSignal): Promise<Evaluation> {
    const {
      evaluate,
      markTolerated,
      log,
      now,
      proofIntervalMs,
      evaluationTimeoutMs: timeoutMs,
    } = this.#options;
    const last = this.#last?.proof;
    const standing = now() - this.#provenMs < proofIntervalMs ? last : undefined;
    try {
      return await withTimeout((inner) => evaluate(inner, triggers, standing), { signal, timeoutMs });
    } catch (err) {
      signal.throwIfAborted();
      log.error({ err, trigger: firstOf(triggers) }, 'look failed');
      const reason = err instanceof TimeoutError ? 'CheckTimedOut' : 'CheckFailed';
      const message = `the look failed: ${errorLine(err)}`;
      const { findings = [], watch = [] } = this.#last ?? {};
      const verdict = await markTolerated({ status: 'Unknown', reason, message });
      const proof = { kind: 'inconclusive', reason, message } as const;
      return { verdict, seenMs: now(), findings, proof, facts: {}, watch };
    }
  }

  #reportOf({ verdict, proof }: Evaluation, trigger: string, durationMs: number): Report {
    const { version, node, handler } = this.#options;
    return {
      version,
      node,
      handler,
      verdict: this.#state.published ?? STARTING,
      evaluation: {
        verdict,
        at: this.#options.date().toISOString(),
        trigger,
        durationMs: Math.round(durationMs),
      },
      findings: this.#findings,
      proof,
      ...(this.#provenAt === undefined ? {} : { provenAt: this.#provenAt }),
      facts: { ...this.#options.facts, ...this.#facts },
      history: this.#history,
    };
  }
}

/** Findings, where a check had nothing to look at what it told earlier: a sandbox that boots slowly shows nothing yet. */
function withTold(findings: readonly Finding[], told: readonly Finding[]): readonly Finding[] {
  return findings.map((finding) =>
    finding.status === 'skipped' ? (told.find(({ check }) => check === finding.check) ?? finding) : finding,
  );
}

/** The first trigger in words: what came first is the likeliest cause. */
function firstOf([first]: readonly Trigger[]): string {
  return first === undefined ? '' : triggerText(first);
}
