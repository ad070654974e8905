import { TimeoutError } from '../base/async.ts';

/** A busy local disk takes a fraction of this; a dead network mount never responds. */
const TIMEOUT_MS = 5_000;
/** Such as /proc/pressure/io, but not /proc/PID. */
const NEVER_BLOCKS = /^\/proc\/[a-z]/;

/**
 * One file operation at a time, because one that never returns occupies one of libuv's four threads. Three
 * semaphores are affordable, for parts of the agent that must not wait for each other.
 */
export class Semaphore {
  readonly #timeoutMs: number;
  /** Resolves once the previous operation has returned or timed out. */
  #previous: Promise<void> = Promise.resolve();
  /** Operations that timed out and have not returned. */
  #stalled = 0;

  constructor(timeoutMs = TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs;
  }

  /** Rejects with a {@link TimeoutError}, at once while an earlier operation is stalled. */
  async run<T>(path: string, work: () => Promise<T>): Promise<T> {
    const previous = this.#previous;
    const { promise, resolve: release } = Promise.withResolvers<void>();
    this.#previous = promise;
    await previous;
    let timer: NodeJS.Timeout | undefined;
    try {
      if (this.#stalled > 0 && !NEVER_BLOCKS.test(path))
        throw new TimeoutError('the file system does not answer for other files either');
      const running = work();
      const timeout = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          this.#stalled += 1;
          void running
            .catch(() => {})
            .then(() => {
              this.#stalled -= 1;
            });
          reject(new TimeoutError(`no answer within ${this.#timeoutMs / 1_000} s`));
        }, this.#timeoutMs);
      });
      return await Promise.race([running, timeout]);
    } finally {
      clearTimeout(timer);
      release();
    }
  }
}
