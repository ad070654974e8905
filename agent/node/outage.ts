/** A shorter failure is none that anybody has to act on. */
const LONG_MS = 300_000;
/** A few slow tries prove nothing. */
const LEAST_TRIES = 5;

/** How long something has failed without a break. Times are milliseconds of a monotonic clock. */
export class Outage {
  #sinceMs: number | undefined;
  #tries = 0;

  /** Notes a failure; gives the duration of the outage once it is at least five minutes and five failures long. */
  failed(nowMs: number): number | undefined {
    this.#sinceMs ??= nowMs;
    this.#tries++;
    const forMs = nowMs - this.#sinceMs;
    return forMs >= LONG_MS && this.#tries >= LEAST_TRIES ? forMs : undefined;
  }

  /** Notes a success; gives the duration of the outage that it ends, undefined when there was none. */
  ended(nowMs: number): number | undefined {
    const forMs = this.#sinceMs === undefined ? undefined : nowMs - this.#sinceMs;
    this.#sinceMs = undefined;
    this.#tries = 0;
    return forMs;
  }
}
