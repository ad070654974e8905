import type { TestContext } from 'node:test';
import pino from 'pino';
import { Agent, type AgentOptions } from '../../agent/agent.ts';
import type { Evaluation } from '../../agent/evaluate.ts';
import type { Report } from '../../agent/report.ts';
import type { Trigger } from '../../agent/trigger/event-queue.ts';
import { EventQueue } from '../../agent/trigger/event-queue.ts';
import { FileTrigger } from '../../agent/trigger/files.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { tempHost } from './host/temp-host.ts';
import { PASSED, PROVEN, unproven, verdictOf } from './reports.ts';

/** Verdicts and a signal for looks: a failure, */
export const BROKEN = verdictOf('False', 'ShimNotFound');
/** one that could not see, */
export const UNSEEN = verdictOf('Unknown', 'ContainerdUnreachable');
/** and a signal that is never aborted. */
export const NEVER = new AbortController().signal;

/** A bell whose waits the test ends: with a trigger, or undefined for the timeout. */
class HandBell extends EventQueue<Trigger> {
  readonly timeouts: number[] = [];
  #waiting = Promise.withResolvers<void>();
  #answer = Promise.withResolvers<Trigger | undefined>();

  constructor() {
    super({ debounceMs: 0, maxDelayMs: 0, burst: 1, refillMs: 0, now: () => 0 });
  }

  override async wait(timeoutMs: number, signal: AbortSignal): Promise<readonly Trigger[]> {
    signal.throwIfAborted();
    this.timeouts.push(timeoutMs);
    this.#waiting.resolve();
    const aborted = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => aborted.reject(signal.reason));
    const trigger = await Promise.race([this.#answer.promise, aborted.promise]);
    return trigger === undefined ? [] : [trigger];
  }

  /** Resolves when the loop waits, with the time that it would wait. */
  async waiting(): Promise<number | undefined> {
    await this.#waiting.promise;
    return this.timeouts.at(-1);
  }

  /** Ends the wait and resolves when the loop waits again. */
  async next(what?: Trigger): Promise<number | undefined> {
    await this.#waiting.promise;
    this.#waiting = Promise.withResolvers<void>();
    const answer = this.#answer;
    this.#answer = Promise.withResolvers<Trigger | undefined>();
    answer.resolve(what);
    return this.waiting();
  }
}

/** A look that came to this verdict, and saw what decides at that time. */
export function lookOf(verdict: Verdict, seenMs: number): Evaluation {
  const proof = verdict.status === 'True' ? { ...PROVEN } : unproven('inconclusive', verdict.reason);
  return { verdict, seenMs, findings: [PASSED], proof, facts: { runsc: 'release-20260223.0' }, watch: [] };
}

/** An agent whose looks come to these verdicts, the last one over and over. */
export async function agentOf(
  t: TestContext,
  looks: (Verdict | Error | ((signal: AbortSignal) => Promise<Evaluation>))[],
  changes: Partial<AgentOptions> = {},
) {
  const bell = new HandBell();
  const files = new FileTrigger(await tempHost(t), () => {});
  t.after(() => files.close());
  const clock = { nowMs: 1_000 };
  const published: Report[] = [];
  const counted: Report[] = [];
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  let looked = 0;
  const agent = new Agent({
    version: '0.1.0',
    node: 'node-1',
    handler: 'runsc',
    facts: { architecture: 'x64' },
    evaluate: async (signal) => {
      const look = looks[Math.min(looked, looks.length - 1)];
      looked += 1;
      if (look === undefined || look instanceof Error) throw look;
      return typeof look === 'function' ? look(signal) : lookOf(look, clock.nowMs);
    },
    markTolerated: async (verdict) => verdict,
    queue: bell,
    files,
    publishers: [{ publish: (report) => published.push(report), count: (report) => counted.push(report) }],
    thresholds: { confirmMs: 500, graceMs: 60_000 },
    proofIntervalMs: 600_000,
    log,
    now: () => clock.nowMs,
    date: () => new Date(clock.nowMs),
    ...changes,
  });
  const stop = new AbortController();
  const run = () => {
    const done = agent.run(stop.signal);
    t.after(async () => {
      stop.abort();
      await done;
    });
    return done;
  };
  return { agent, bell, clock, published, counted, lines, stop, run };
}
