import { TimeoutError } from '../async.ts';

/** The local disk of a node under full load answers within a fraction of this; a dead network mount never does. */
const ANSWER_MS = 5_000;
/** Files such as /proc/pressure/io need no disk, and tell of the pressure just when one stalls. Not so those of a process. */
const OF_THE_KERNEL = /^\/proc\/[a-z]/;

/**
 * File operations that take turns, because one that never returns holds a thread of libuv's four. Who must not wait for
 * what another stalls has turns of its own; three can be afforded.
 */
export class Semaphore {
  readonly #answerMs: number;
  /** Ends when the operation before has returned, or was given up. */
  #last: Promise<void> = Promise.resolve();
  /** How many that were given up have not returned. */
  #stalled = 0;

  constructor(answerMs = ANSWER_MS) {
    this.#answerMs = answerMs;
  }

  /** Does one piece of work with a file in its turn, and gives up on it after `answerMs`; rejects at once while another is out. */
  async run<T>(path: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise, resolve: end } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    let timer: NodeJS.Timeout | undefined;
    try {
      if (this.#stalled > 0 && !OF_THE_KERNEL.test(path))
        throw new TimeoutError('the file system does not answer for other files either');
      const asked = work();
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          this.#stalled += 1;
          void asked
            .catch(() => {})
            .then(() => {
              this.#stalled -= 1;
            });
          reject(new TimeoutError(`no answer within ${this.#answerMs / 1_000} s`));
        }, this.#answerMs);
      });
      return await Promise.race([asked, late]);
    } finally {
      clearTimeout(timer);
      end();
    }
  }
}
