type Round = { readonly number: number; readonly atMs: number };

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 300_000;
/** A key that was left alone for so long is not fought over any more. */
const PEACE_MS = 900_000;

/**
 * Bounds how often a key is written again because somebody else changed it: at once the first time, then
 * after pauses that double up to five minutes, so that two writers never chase each other. Times are
 * milliseconds of a monotonic clock.
 */
export class Contest {
  readonly #rounds = new Map<string, Round>();

  /** How long to wait before the key may be written again; 0 for not at all. */
  waitMs(key: string, nowMs: number): number {
    const round = this.#last(key, nowMs);
    if (round === undefined) return 0;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (round.number - 1), LAST_PAUSE_MS);
    return Math.max(round.atMs + pause - nowMs, 0);
  }

  /** Tells that the key was written again; gives the number of times that it was, one after the other. */
  wrote(key: string, nowMs: number): number {
    const number = (this.#last(key, nowMs)?.number ?? 0) + 1;
    this.#rounds.set(key, { number, atMs: nowMs });
    return number;
  }

  #last(key: string, nowMs: number): Round | undefined {
    const round = this.#rounds.get(key);
    return round !== undefined && nowMs - round.atMs < PEACE_MS ? round : undefined;
  }
}
