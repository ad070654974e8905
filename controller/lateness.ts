/** Long enough for a scrape to see it. */
const WINDOW_MS = 120_000;

/** How late this process's timers were lately, at the worst: if it is more than a moment, it lacks processor time. */
export class Lateness {
  #samples: { readonly atMs: number; readonly lateMs: number }[] = [];

  /** Times are monotonic milliseconds. */
  note(lateMs: number, nowMs: number): void {
    this.#samples = this.#samples.filter(({ atMs }) => nowMs - atMs < WINDOW_MS);
    this.#samples.push({ atMs: nowMs, lateMs });
  }

  get worstMs(): number {
    return this.#samples.reduce((worst, { lateMs }) => Math.max(worst, lateMs), 0);
  }
}
