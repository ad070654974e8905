import { KubeError } from './error.ts';

/** Exponential, with jitter; times in milliseconds. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  #pauseMs: number;
  #tries = 0;

  constructor(firstMs: number, maxMs: number) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#pauseMs = firstMs;
  }

  /** Failed since the last reset. */
  get tries(): number {
    return this.#tries;
  }

  reset(): void {
    this.#pauseMs = this.#firstMs;
    this.#tries = 0;
  }

  /** A pause of `maxMs` or so, and at least the server's Retry-After. */
  next(error?: unknown, maxMs = this.#maxMs): number {
    const pauseMs = Math.min(this.#pauseMs, maxMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#maxMs);
    this.#tries += 1;
    const retryAfterMs = (error instanceof KubeError && error.retryAfterMs) || 0;
    return Math.round(Math.max(pauseMs * (0.5 + Math.random()), retryAfterMs * (1 + Math.random() / 4)));
  }
}
