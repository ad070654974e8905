/** How long a later agent has to answer an earlier one that asks whether it lives. */
const ANSWER_MS = 5_000;
/** An earlier agent asks no more often. */
const ASK_EVERY_MS = 10_000;

/** What to do with a Node: write it, leave it to another agent, ask that one, or wait for its answer. */
export type Turn = 'write' | 'yield' | 'ask' | { readonly waitMs: number };

/**
 * Which of two agents on one node writes it: the one that started later. Its claim stands in an annotation
 * of the Node. An earlier agent yields; after a look of its own it asks, by putting its own claim there and
 * nothing else. A later agent that lives takes the claim back at once; when none does, the earlier one writes
 * again. Times are milliseconds of a monotonic clock.
 */
export class Claim {
  /** What stands in the annotation: when this agent started, and what it is. */
  readonly text: string;
  readonly #started: string;
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking = false;

  constructor(started: Date, version: string) {
    this.#started = started.toISOString();
    this.text = `${this.#started} ${version}`;
  }

  /** Decides by who holds the claim; `looked` says whether this agent has looked since it last asked. */
  turn(held: string | undefined, looked: boolean, nowMs: number): Turn {
    if (this.#isLater(held)) {
      this.#asking = false;
      if (!looked) return 'yield';
      const waitMs = this.#askedMs + ASK_EVERY_MS - nowMs;
      if (waitMs > 0) return { waitMs };
      this.#asking = true;
      this.#askedMs = nowMs;
      return 'ask';
    }
    const waitMs = this.#asking ? this.#askedMs + ANSWER_MS - nowMs : 0;
    if (waitMs > 0) return { waitMs };
    this.#asking = false;
    return 'write';
  }

  #isLater(held: string | undefined): boolean {
    const [started = ''] = (held ?? '').split(' ');
    return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(started) && started > this.#started;
  }
}
