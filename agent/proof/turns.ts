import timers from 'node:timers/promises';

/** Long for a busy node. A file fault of one handler must not wait for the boot of another that hangs. */
const MAX_TURN_MS = 5_000;

/** Lets the probes of several handlers take turns: never two at once, except beside one that has taken {@link MAX_TURN_MS}. */
export class ProofTurns {
  readonly #maxTurnMs: number;
  #previous: Promise<unknown> = Promise.resolve();

  constructor(maxTurnMs = MAX_TURN_MS) {
    this.#maxTurnMs = maxTurnMs;
  }

  /** Runs a probe, which must not reject, in its turn. */
  run<T>(probe: () => Promise<T>): Promise<T> {
    const begun = this.#previous.then(() => ({ ended: probe() }));
    const over = new AbortController();
    this.#previous = begun.then(async ({ ended }) => {
      const limit = timers.setTimeout(this.#maxTurnMs, undefined, { signal: over.signal, ref: false });
      await Promise.race([ended, limit.catch(() => {})]);
      over.abort();
    });
    return begun.then(({ ended }) => ended);
  }
}
