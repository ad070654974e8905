import timers from 'node:timers/promises';

/** How events become looks, in milliseconds and numbers. */
export type BellOptions = {
  /** An event waits for the next until none has come for this long, */
  readonly quietMs: number;
  /** but no longer than this. */
  readonly longestMs: number;
  /** At most this many looks in `windowMs`; later events wait. */
  readonly burst: number;
  readonly windowMs: number;
  readonly now: () => number;
};

/** Gathers events of all triggers into single calls to look; a thousand events cost one. */
export class Bell {
  readonly #options: BellOptions;
  readonly #answered: number[] = [];
  #rung: string | undefined;
  #lastRingMs = 0;
  #ringing = Promise.withResolvers<void>();

  constructor(options: BellOptions) {
    this.#options = options;
  }

  /** An event, with a word on what it was. */
  ring(what: string): void {
    this.#rung ??= what;
    this.#lastRingMs = this.#options.now();
    this.#ringing.resolve();
  }

  /**
   * Waits for an event, or for `timeoutMs` to pass, and tells which: the word of the first event, or
   * undefined for the timeout. Rejects when the signal is aborted.
   */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<string | undefined> {
    const { now } = this.#options;
    const deadline = now() + timeoutMs;
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    try {
      await Promise.race([
        this.#ringing.promise,
        timers.setTimeout(timeoutMs, undefined, { signal: either }),
      ]);
      if (this.#rung === undefined) return undefined;
      await this.#settle(deadline, signal);
    } finally {
      stop.abort();
    }
    const what = this.#rung;
    this.#rung = undefined;
    this.#ringing = Promise.withResolvers<void>();
    this.#answered.push(now());
    return what;
  }

  async #settle(deadline: number, signal: AbortSignal): Promise<void> {
    const { now, quietMs, longestMs, burst, windowMs } = this.#options;
    const first = now();
    for (;;) {
      const quietAt = Math.min(this.#lastRingMs + quietMs, first + longestMs);
      if (quietAt <= now()) break;
      await timers.setTimeout(quietAt - now(), undefined, { signal });
    }
    while (this.#answered.length > 0 && (this.#answered[0] ?? 0) < now() - windowMs) this.#answered.shift();
    const oldest = this.#answered.at(-burst);
    if (oldest === undefined) return;
    const wait = Math.min(oldest + windowMs, deadline) - now();
    if (wait > 0) await timers.setTimeout(wait, undefined, { signal });
  }
}
