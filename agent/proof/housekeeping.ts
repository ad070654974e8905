import timers from 'node:timers/promises';

/** The kubelet looks this often for sandboxes that it does not know, and stops them. */
const PERIOD_MS = 2_000;
/**
 * A sandbox is in danger from 0.2 to 0.8 s after its start, and its end is noticed 0.2 to 0.9 s after the kubelet has
 * looked: who starts a whole number of periods after such a moment, from so much earlier to so much later, is safe.
 */
const EARLIER_MS = 200;
const LATER_MS = 300;

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
  #stoppedMs: number | undefined;

  /** `now` is a monotonic clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A sandbox of ours was stopped just now. */
  noticed(): void {
    this.#stoppedMs = this.#now();
  }

  /** How long to wait until a sandbox can be started that will be gone before the kubelet looks again, milliseconds. */
  get waitMs(): number {
    if (this.#stoppedMs === undefined) return 0;
    const since = (this.#now() - this.#stoppedMs + EARLIER_MS) % PERIOD_MS;
    return since <= EARLIER_MS + LATER_MS ? 0 : PERIOD_MS - since;
  }

  /** Waits for that moment. Rejects when the signal is aborted. */
  async quiet(signal: AbortSignal): Promise<void> {
    const { waitMs } = this;
    if (waitMs > 0) await timers.setTimeout(waitMs, undefined, { signal });
  }
}
