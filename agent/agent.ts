import type { Logger } from 'pino';
import { waitUpTo, withTimeout } from '../lib/base/async.ts';
import type { Finding } from '../lib/checks/finding.ts';
import { type Installation, isUnderWay } from '../lib/host/installation.ts';
import type { Facts } from '../lib/host/system.ts';
import type { Outcome } from '../lib/proof/outcome.ts';
import { notEvaluated, type Verdict } from '../lib/report/verdict.ts';
import type { Announcer, Evaluated } from './announcer.ts';
import type { Evaluation, NodeEvaluator } from './evaluate.ts';
import { applyHysteresis, type HysteresisResult, type HysteresisState } from './hysteresis.ts';
import type { Config } from './start/config.ts';
import { type EventQueue, isChange, type Trigger, triggerText } from './trigger/event-queue.ts';
import type { FileTrigger } from './trigger/files.ts';

export type AgentOptions = {
  readonly version: string;
  readonly config: Pick<Config, 'nodeName' | 'handler' | 'confirmMs' | 'graceMs' | 'proofIntervalMs'>;
  readonly facts: Facts;
  readonly evaluator: Pick<NodeEvaluator, 'evaluate' | 'markTolerated'>;
  readonly files?: Pick<FileTrigger, 'watch'>;
  readonly announcer: Pick<Announcer, 'evaluated' | 'installing'>;
  readonly installation?: () => Promise<Installation | undefined>;
  readonly evaluationTimeoutMs?: number;
  readonly log: Logger;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
  readonly date: () => Date;
};

/** Some causes end without a change of a file. Grows on a node that stays as it is, since failed boots leave traces. */
const NOT_READY_INTERVAL_MS = 60_000;
const NOT_READY_SHARE = 1 / 4;
const EVALUATION_TIMEOUT_MS = 90_000;
/** How far behind schedule the loop counts as stalled. */
const MAX_DELAY_MS = 60_000;
/** Setting watches may hang on a dead network mount. */
const WATCH_TIMEOUT_MS = 15_000;

/** The reconcile loop: wait for events, evaluate, apply hysteresis, announce. */
export class Agent {
  readonly #options: AgentOptions & { readonly evaluationTimeoutMs: number };
  #state: HysteresisState = {};
  #last: Evaluation | undefined;
  #facts: Facts = {};
  #findings: readonly Finding[] = [];
  #proven: Outcome | undefined;
  #provenAt: string | undefined;
  #provenMs = Number.NEGATIVE_INFINITY;
  #installation: Installation | undefined;
  /** Infinite while one runs. */
  #endedMs = Number.POSITIVE_INFINITY;
  /** Since when nothing is known to have changed, neither on the node nor in what is published. */
  #steadyMs = Number.NEGATIVE_INFINITY;
  /** When the current evaluation must have ended, or the next one must begin. */
  #dueMs: number;

  constructor(options: AgentOptions) {
    this.#options = { evaluationTimeoutMs: EVALUATION_TIMEOUT_MS, ...options };
    this.#dueMs = options.now() + this.#options.evaluationTimeoutMs;
  }

  get live(): boolean {
    return this.#options.now() < this.#dueMs + MAX_DELAY_MS;
  }

  get idleMs(): number {
    return this.#options.now() - this.#endedMs;
  }

  /** Reconciles on every event, and when the next evaluation is due, until the signal is aborted. */
  async run(queue: Pick<EventQueue<Trigger>, 'wait'>, signal: AbortSignal): Promise<void> {
    let triggers: readonly Trigger[] = [{ kind: 'start' }];
    while (!signal.aborted) {
      const result = await this.reconcile(triggers, signal).catch((err: unknown) => {
        if (!signal.aborted) this.#options.log.error({ err }, 'reconcile failed');
        return undefined;
      });
      triggers = await this.#next(queue, result, signal).catch(() => []);
    }
  }

  async #next(
    queue: Pick<EventQueue<Trigger>, 'wait'>,
    result: HysteresisResult | undefined,
    signal: AbortSignal,
  ): Promise<readonly Trigger[]> {
    const { now, config } = this.#options;
    const requeueAfterMs = result?.requeueAfterMs;
    const seenMs = this.#last?.seenMs ?? now();
    // Rounded up: a timer may fire early, and an early evaluation confirms nothing.
    const requeueMs = requeueAfterMs && Math.ceil(seenMs + requeueAfterMs - now()) + 1;
    const waitMs = Math.max(requeueMs ?? this.#interval(config.proofIntervalMs), 1);
    this.#endedMs = now();
    this.#dueMs = this.#endedMs + waitMs;
    const events = await queue.wait(waitMs, signal);
    return events.length > 0 ? events : [{ kind: requeueAfterMs === undefined ? 'timer' : 'confirm' }];
  }

  /** Counted from the last boot: a proof that is reused does not begin it anew. */
  #interval(proofIntervalMs: number): number {
    const nowMs = this.#options.now();
    const isReady = this.#state.published?.status === 'True';
    const jitter = 0.9 + 0.2 * Math.random();
    if (isReady && !isUnderWay(this.#installation)) return this.#provenMs + proofIntervalMs * jitter - nowMs;
    const grownMs = isReady ? 0 : (nowMs - this.#steadyMs) * NOT_READY_SHARE;
    return Math.min(proofIntervalMs, Math.max(NOT_READY_INTERVAL_MS, grownMs)) * jitter;
  }

  /** Evaluates once and announces the result. Rejects when the signal is aborted. */
  async reconcile(triggers: readonly Trigger[], signal: AbortSignal): Promise<HysteresisResult> {
    const { config, files, evaluationTimeoutMs, log, now, date } = this.#options;
    const [trigger = ''] = triggers.map(triggerText); // the earliest event is the likeliest cause
    const startedMs = now();
    const startedAt = date().getTime();
    this.#dueMs = startedMs + evaluationTimeoutMs;
    this.#endedMs = Number.POSITIVE_INFINITY;
    const previous = this.#last;
    // Before the evaluation: one that began while the installer worked says nothing of the time after it.
    this.#installation = await this.#options.installation?.();
    const evaluation = await this.#evaluate(triggers, signal);
    this.#last = evaluation;
    // Before it is announced: a consumer of the verdict may change a file at once.
    if (files !== undefined)
      await waitUpTo(files.watch(evaluation.watch, startedAt), WATCH_TIMEOUT_MS, signal);
    const result = applyHysteresis(this.#state, evaluation.verdict, evaluation.seenMs, config);
    const isNews = result.state.published?.reason !== this.#state.published?.reason;
    if (isNews || triggers.some(isChange)) this.#steadyMs = now();
    this.#state = result.state;
    this.#remember(evaluation, result.publish);
    if (evaluation.verdict.status === 'Unknown' && evaluation.verdict.reason !== previous?.verdict.reason)
      log.info({ ...evaluation.verdict, trigger }, 'the node cannot be judged');
    const evaluated = this.#createReport(evaluation, trigger, now() - startedMs);
    log.debug({ evaluation: evaluated.evaluation, proof: evaluation.proof }, 'evaluated');
    this.#options.announcer.evaluated(evaluated, this.#installation);
    return result;
  }

  /**
   * Announces what the installer has noted, without a boot beside its work. Resolves with true once it has ended: then
   * only an evaluation can say how the node is.
   */
  async noteInstallation(): Promise<boolean> {
    const installation = await this.#options.installation?.();
    if (isUnderWay(this.#installation) && !isUnderWay(installation)) return true;
    this.#installation = installation;
    this.#options.announcer.installing(installation);
    return false;
  }

  /** A timeout or an error becomes a verdict Unknown. */
  async #evaluate(triggers: readonly Trigger[], signal: AbortSignal): Promise<Evaluation> {
    const { config, evaluator, log, now, evaluationTimeoutMs: timeoutMs } = this.#options;
    const isRecent = now() - this.#provenMs < config.proofIntervalMs;
    const proof = isRecent ? this.#last?.proof : undefined;
    try {
      return await withTimeout((inner) => evaluator.evaluate(inner, triggers, proof), { signal, timeoutMs });
    } catch (err) {
      signal.throwIfAborted();
      log.error({ err, trigger: triggers.map(triggerText)[0] }, 'evaluation failed');
      const { findings = [], watch = [] } = this.#last ?? {};
      const verdict = await evaluator.markTolerated(notEvaluated(err));
      const { reason, message } = verdict;
      const inconclusive = { kind: 'inconclusive', reason, message } as const;
      return { verdict, seenMs: now(), findings, proof: inconclusive, facts: {}, watch };
    }
  }

  /** `publish` is the verdict that follows from the evaluation, if any. */
  #remember({ proof, facts, findings }: Evaluation, publish: Verdict | undefined): void {
    const { now, date } = this.#options;
    // Only a conclusive evaluation replaces facts: behind a wrapper script the files name another release than the
    // sandbox.
    const isConclusive = publish !== undefined && (publish.status !== 'Unknown' || proof.kind === 'proven');
    this.#facts = isConclusive ? { ...this.#facts, ...facts } : { ...facts, ...this.#facts };
    this.#findings = publish === undefined ? withPrevious(findings, this.#findings) : findings;
    if (proof.kind !== 'proven' || proof === this.#proven) return;
    this.#proven = proof;
    this.#provenAt = date().toISOString();
    this.#provenMs = now();
  }

  #createReport({ verdict, proof }: Evaluation, trigger: string, durationMs: number): Evaluated {
    const { version, config, facts, date } = this.#options;
    return {
      version,
      node: config.nodeName,
      handler: config.handler,
      verdict: this.#state.published,
      evaluation: { verdict, at: date().toISOString(), trigger, durationMs: Math.round(durationMs) },
      findings: this.#findings,
      proof,
      ...(this.#provenAt === undefined ? {} : { provenAt: this.#provenAt }),
      facts: { ...facts, ...this.#facts },
    };
  }
}

/** A skipped check keeps its previous finding: all are skipped while a sandbox boots slowly. */
function withPrevious(findings: readonly Finding[], previous: readonly Finding[]): readonly Finding[] {
  return findings.map((finding) =>
    finding.status === 'skipped'
      ? (previous.find(({ check }) => check === finding.check) ?? finding)
      : finding,
  );
}
