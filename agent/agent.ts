import type { Logger } from 'pino';
import type { Facts } from './facts.ts';
import { errorLine } from './host/error-line.ts';
import type { Look } from './look.ts';
import type { Publisher } from './publish/publisher.ts';
import { type Report, STARTING, type Transition } from './report.ts';
import { type Patience, type Settled, type Steady, settle } from './steady.ts';
import type { Bell } from './trigger/bell.ts';
import type { FileTrigger } from './trigger/files.ts';

/** What the loop is made of; everything that touches the world comes from `main.ts`. */
export type AgentOptions = {
  readonly version: string;
  readonly node: string;
  readonly handler: string;
  /** Facts that do not change while the agent runs. */
  readonly facts: Facts;
  readonly look: (signal: AbortSignal, triggers: readonly string[]) => Promise<Look>;
  readonly bell: Bell;
  readonly files: FileTrigger;
  readonly publishers: readonly Publisher[];
  readonly patience: Patience;
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

/** The loop: wait for a trigger, look, settle, publish. It holds the only state over time. */
export class Agent {
  readonly #options: AgentOptions;
  #state: Steady = {};
  #last: Look | undefined;
  #history: readonly Transition[] = [];
  #provenAt: string | undefined;
  #report: Report | undefined;
  #turnedMs: number;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#turnedMs = options.now();
  }

  /** The newest report, absent before the first look has ended. */
  get report(): Report | undefined {
    return this.#report;
  }

  /** Whether there is a verdict of this agent's own; before, what a predecessor published stands. */
  get settled(): boolean {
    return this.#state.published !== undefined;
  }

  /** Whether the loop has turned lately: a look must end, and the next begin, within its time. */
  get live(): boolean {
    const { now, proofIntervalMs } = this.#options;
    return now() - this.#turnedMs < proofIntervalMs * 1.1 + 2 * ROUND_TIMEOUT_MS;
  }

  /** Looks again and again until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    let triggers: readonly string[] = ['start'];
    while (!signal.aborted) {
      const settled = await this.round(triggers, signal).catch(() => undefined);
      triggers = await this.#next(settled, signal).catch(() => []);
    }
  }

  async #next(settled: Settled | undefined, signal: AbortSignal): Promise<readonly string[]> {
    const { bell, now, proofIntervalMs } = this.#options;
    const ready = this.#state.published?.status === 'True';
    const interval = ready ? proofIntervalMs : Math.min(proofIntervalMs, NOT_READY_INTERVAL_MS);
    const jittered = interval * (0.9 + 0.2 * Math.random());
    const again = settled?.lookAgainMs;
    const seenMs = this.#last?.seenMs ?? now();
    // A timer may end a moment early, and a look that comes too early confirms nothing.
    const rest = again === undefined ? jittered : Math.ceil(seenMs + again - now()) + 1;
    const events = await bell.wait(Math.max(rest, 1), signal);
    this.#turnedMs = now();
    return events.length > 0 ? events : [again === undefined ? 'timer' : 'confirm'];
  }

  /** One look because of these events, and what follows from it. Rejects when the signal is aborted. */
  async round(triggers: readonly string[], signal: AbortSignal): Promise<Settled> {
    const { files, publishers, patience, now, log } = this.#options;
    const begun = now();
    const begunAt = this.#options.date().getTime();
    const [trigger = ''] = triggers;
    const seen = await this.#look(triggers, signal);
    const isNew = seen.proof !== this.#last?.proof;
    this.#last = seen;
    await files.watch(seen.watch, begunAt);
    const old = this.#state.published;
    const settled = settle(this.#state, seen.verdict, seen.seenMs, patience);
    this.#state = settled.state;
    if (seen.proof.kind === 'proven' && isNew) this.#provenAt = this.#options.date().toISOString();
    const { publish } = settled;
    if (publish !== undefined && (publish.status !== old?.status || publish.reason !== old.reason)) {
      this.#history = [{ ...publish, at: this.#options.date().toISOString() }, ...this.#history].slice(
        0,
        HISTORY,
      );
      log.info({ ...publish, trigger }, 'verdict changed');
    }
    this.#report = this.#reportOf(seen, trigger, now() - begun);
    log.debug({ look: this.#report.look, proof: seen.proof }, 'looked');
    for (const publisher of publishers) publisher.count?.(this.#report);
    // Before anything is settled, what a predecessor published stands.
    if (this.#state.published !== undefined)
      for (const publisher of publishers) publisher.publish(this.#report);
    return settled;
  }

  /** A look; one that does not end in time, or fails, is one that could not see. */
  async #look(triggers: readonly string[], signal: AbortSignal): Promise<Look> {
    const { look, log } = this.#options;
    const deadline = AbortSignal.timeout(ROUND_TIMEOUT_MS);
    try {
      return await look(AbortSignal.any([signal, deadline]), triggers);
    } catch (err) {
      signal.throwIfAborted();
      log.error({ err, trigger: triggers[0] }, 'look failed');
      const reason = deadline.aborted ? 'CheckTimedOut' : 'CheckFailed';
      const message = `the look failed: ${errorLine(err)}`;
      const { findings = [], facts = {}, watch = [] } = this.#last ?? {};
      const verdict = { status: 'Unknown', reason, message } as const;
      const proof = { kind: 'impossible', reason, message } as const;
      return { verdict, seenMs: this.#options.now(), findings, proof, facts, watch };
    }
  }

  #reportOf({ verdict, findings, proof, facts }: Look, trigger: string, durationMs: number): Report {
    const { version, node, handler } = this.#options;
    return {
      version,
      node,
      handler,
      verdict: this.#state.published ?? STARTING,
      look: { verdict, at: this.#options.date().toISOString(), trigger, durationMs: Math.round(durationMs) },
      findings,
      proof,
      ...(this.#provenAt === undefined ? {} : { provenAt: this.#provenAt }),
      facts: { ...this.#options.facts, ...facts },
      history: this.#history,
    };
  }
}
