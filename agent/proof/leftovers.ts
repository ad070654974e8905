import type { Outcome } from './outcome.ts';
import { type SweepOptions, sweepForgotten, sweepSandboxes } from './sweep.ts';

/** Where probes leave something, and who hears of it. */
export type LeftoversOptions = SweepOptions & {
  /** Called with how many sandboxes of earlier probes containerd cannot remove, when that changes. */
  readonly onLeft: (left: number) => void;
};

/** What probes leave on the node: removes it, and remembers what does not go. */
export class Leftovers {
  readonly #options: LeftoversOptions;
  #left = 0;
  /** How many there were before the latest boots. */
  #before = Number.POSITIVE_INFINITY;
  /** Whether the last boot proved, so that its sandbox should be gone. */
  #proved = false;
  /** Those that the CRI does not list. They are looked for where a boot may have left one: at the start, by a predecessor. */
  #forgotten: readonly string[] | undefined;
  #mayHaveForgotten = true;

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  /** How many of the latest boots have left something that does not go. */
  get grown(): number {
    return Math.max(this.#left - this.#before, 0);
  }

  /** Heeds how a boot ended. */
  note({ kind }: Outcome): void {
    this.#proved = kind === 'proven';
    if (!this.#proved) this.#mayHaveForgotten = true;
  }

  /**
   * Removes what goes, also what the CRI forgot where `forgotten` allows that. Rejects when containerd does not list its
   * sandboxes; where it does not list its containers in time, they are looked for again the next time.
   */
  async sweep(forgotten: boolean, signal: AbortSignal): Promise<void> {
    const { onLeft } = this.#options;
    const sandboxes = await sweepSandboxes(this.#options, signal);
    if (forgotten && this.#mayHaveForgotten) {
      const found = await sweepForgotten(this.#options, signal).catch(() => undefined);
      this.#mayHaveForgotten = found === undefined || found.inUse || found.left.length > 0;
      // What is found only now is a predecessor's.
      if (this.#forgotten === undefined && found !== undefined) this.#before = Number.POSITIVE_INFINITY;
      this.#forgotten = found?.left ?? this.#forgotten;
    }
    const left = new Set([...sandboxes, ...(this.#forgotten ?? [])]).size;
    // What stays though another came and went is not of the latest.
    if (this.#proved && left <= this.#left) this.#before = left;
    this.#proved = false;
    if (left !== this.#left) onLeft(left);
    this.#left = left;
    this.#before = Math.min(this.#before, left);
  }
}
