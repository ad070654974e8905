import timers from 'node:timers/promises';
import { waitFor } from '../async.ts';

/** How events become looks, in milliseconds and numbers. */
export type BellOptions = {
  /** An event waits for the next until none has come for this long, */
  readonly quietMs: number;
  /** but no longer than this. */
  readonly longestMs: number;
  /** So many looks may follow each other at once, */
  readonly burst: number;
  /** and one more each time this long has passed: a further event waits no longer than that. */
  readonly refillMs: number;
  readonly now: () => number;
};

/** Gathers events of all triggers into single calls to look; a thousand events cost one. Equal events are one. */
export class Bell<Event> {
  readonly #options: BellOptions;
  /** When a whole burst is allowed again; each look puts it off by one refill. */
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #rung = new Map<string, Event>();
  #lastRingMs = 0;
  #ringing = Promise.withResolvers<void>();

  constructor(options: BellOptions) {
    this.#options = options;
  }

  /** Tells of an event. */
  ring(event: Event): void {
    const key = JSON.stringify(event);
    if (!this.#rung.has(key)) this.#rung.set(key, event);
    this.#lastRingMs = this.#options.now();
    this.#ringing.resolve();
  }

  /**
   * Waits for an event, or for `timeoutMs` to pass, and tells which: all events, each once and the first first, or
   * none for the timeout. Rejects when the signal is aborted.
   */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<readonly Event[]> {
    const { now, refillMs } = this.#options;
    const deadline = now() + timeoutMs;
    await waitFor(this.#ringing.promise, timeoutMs, signal);
    signal.throwIfAborted();
    if (this.#rung.size > 0) {
      await this.#settle(deadline, signal);
      this.#fullAtMs = Math.max(this.#fullAtMs, now()) + refillMs;
    }
    const events = [...this.#rung.values()];
    this.#rung = new Map();
    // A promise that stays pending keeps everything that was ever raced against it.
    this.#ringing = Promise.withResolvers<void>();
    return events;
  }

  async #settle(deadline: number, signal: AbortSignal): Promise<void> {
    const { now, quietMs, longestMs, burst, refillMs } = this.#options;
    const first = now();
    for (;;) {
      const restMs = Math.min(this.#lastRingMs + quietMs, first + longestMs) - now();
      if (restMs <= 0) break;
      await timers.setTimeout(restMs, undefined, { signal });
    }
    const allowedAt = this.#fullAtMs - (burst - 1) * refillMs;
    const wait = Math.min(allowedAt, deadline) - now();
    if (wait > 0) await timers.setTimeout(wait, undefined, { signal });
  }
}
