import { KubeError } from './error.ts';

/** The pauses between tries: each about twice as long as the one before, up to a longest; times in milliseconds. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #pauseMs: number;

  constructor(firstMs: number, longestMs: number) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#pauseMs = firstMs;
  }

  /** Begins again with the first pause. */
  reset(): void {
    this.#pauseMs = this.#firstMs;
  }

  /** How long to wait before the next try, with jitter; at least as long as a server asks that refused this one. */
  next(error?: unknown): number {
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(pauseMs * 2, this.#longestMs);
    const askedMs = error instanceof KubeError ? error.retryAfterMs : undefined;
    const leastMs = (askedMs ?? 0) * (1 + Math.random() / 4);
    return Math.round(Math.max(pauseMs * (0.5 + Math.random()), leastMs));
  }
}
