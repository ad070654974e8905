import { KubeError } from './error.ts';

/** Exponential, with jitter; times in milliseconds. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  #pauseMs: number;

  constructor(firstMs: number, maxMs: number) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#pauseMs = firstMs;
  }

  reset(): void {
    this.#pauseMs = this.#firstMs;
  }

  /** A pause of `maxMs` or so, and at least the server's Retry-After. */
  next(error?: unknown, maxMs = this.#maxMs): number {
    const pauseMs = Math.min(this.#pauseMs, maxMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#maxMs);
    const retryAfterMs = (error instanceof KubeError && error.retryAfterMs) || 0;
    return Math.round(Math.max(pauseMs * (0.5 + Math.random()), retryAfterMs * (1 + Math.random() / 4)));
  }
}
