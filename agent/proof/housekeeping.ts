import timers from 'node:timers/promises';

/** The kubelet looks this often for sandboxes that it does not know, and stops them. */
const PERIOD_MS = 2_000;
/**
 * A proof is in danger from 0.2 to 0.8 s after its start. Started in this stretch after a look of the kubelet's, it is
 * over before the next.
 */
const FROM_MS = 250;
const TO_MS = 750;

/**
 * When the kubelet looks for sandboxes that it does not know. It does so by a ticker, so that one sandbox of ours that
 * it stopped tells of all times to come, until it restarts and the next one tells anew. Being stopped is not merely a
 * proof lost: gVisor's shim deadlocks when its sandbox dies while a container starts in it. containerd keeps what it has
 * of it until somebody ends that shim, and containerd 1.7 does not even start again before: it waits for the shim.
 * Sources: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet.go (housekeepingPeriod),
 * https://github.com/google/gvisor/blob/release-20260223.0/pkg/shim/v1/proc/init.go (delete)
 */
export class Housekeeping {
  readonly #now: () => number;
  #lookedMs: number | undefined;
  #wasTried = false;

  /** `now` is a monotonic clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A sandbox of ours was stopped, by a look of the kubelet's so many milliseconds ago. */
  noticed(sinceLookMs: number): void {
    this.#lookedMs = this.#now() - sinceLookMs;
  }

  /** Whether a moment is known, or it was tried in vain to learn one. */
  get isLearned(): boolean {
    return this.#lookedMs !== undefined || this.#wasTried;
  }

  /** It is being tried to learn a moment; once is enough. */
  tried(): void {
    this.#wasTried = true;
  }

  /** How long to wait until a sandbox can be started that will be gone before the kubelet looks again, milliseconds. */
  get waitMs(): number {
    if (this.#lookedMs === undefined) return 0;
    const since = (this.#now() - this.#lookedMs) % PERIOD_MS;
    if (since >= FROM_MS && since <= TO_MS) return 0;
    return (FROM_MS - since + PERIOD_MS) % PERIOD_MS;
  }

  /** Waits for that moment. Rejects when the signal is aborted. */
  async quiet(signal: AbortSignal): Promise<void> {
    const { waitMs } = this;
    if (waitMs > 0) await timers.setTimeout(waitMs, undefined, { signal });
  }
}
