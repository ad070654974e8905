import timers from 'node:timers/promises';

/** The kubelet looks this often for sandboxes that it does not know, and stops them. */
const PERIOD_MS = 2_000;
/** Started this long after a look of the kubelet's, a proof is not met by what that look begins. */
const FROM_MS = 250;
/** Started later than this, or than its usual length lets it be over before the next look, it waits for that. */
const TO_MS = 750;
/** How far the moments of the kubelet's looks may be from what is known of them. */
const ERROR_MS = 200;

/**
 * When the kubelet looks for sandboxes that it does not know. It does so by a ticker, so that one sandbox of ours that
 * it stopped tells of all times to come, until it restarts. Being stopped is not merely a
 * proof lost: gVisor's shim deadlocks when its sandbox dies while a container starts in it. containerd keeps what it has
 * of it until somebody ends that shim, and containerd 1.7 does not even start again before: it waits for the shim.
 * Sources: https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/kubelet.go (housekeepingPeriod),
 * https://github.com/google/gvisor/blob/release-20260223.0/pkg/shim/v1/proc/init.go (delete)
 */
export class Housekeeping {
  readonly #now: () => number;
  #lookedMs: number | undefined;
  #kubelet: string | undefined;
  #bootMs = 0;

  /** `now` is a monotonic clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A sandbox of ours was stopped, by a look of the kubelet's so many milliseconds ago. */
  noticed(sinceLookMs: number): void {
    this.#lookedMs = this.#now() - sinceLookMs;
  }

  /** Whether the moments of this kubelet (its process, in whatever words) are known, or were tried in vain to learn. */
  isLearnedOf(kubelet: string): boolean {
    return this.#kubelet === kubelet;
  }

  /** The moments of this kubelet are being learned; those of another, or of one that was restarted, count no more. */
  learningOf(kubelet: string): void {
    this.#kubelet = kubelet;
    this.#lookedMs = undefined;
  }

  /** A boot was in danger for so long, milliseconds; the next will be about as long. */
  took(bootMs: number): void {
    this.#bootMs = bootMs;
  }

  /** Whether the kubelet may have looked in between, as far as its moments are known. */
  lookedBetween(fromMs: number, toMs: number): boolean {
    if (this.#lookedMs === undefined) return false;
    const looks = (ms: number) => Math.floor((ms - (this.#lookedMs ?? 0)) / PERIOD_MS);
    return looks(toMs + ERROR_MS) > looks(fromMs - ERROR_MS);
  }

  /** How long to wait until a sandbox can be started that will be gone before the kubelet looks again, milliseconds. */
  get waitMs(): number {
    if (this.#lookedMs === undefined) return 0;
    const since = (this.#now() - this.#lookedMs) % PERIOD_MS;
    const latestMs = Math.min(PERIOD_MS - ERROR_MS - this.#bootMs, TO_MS);
    if (since >= FROM_MS && since <= latestMs) return 0;
    return (FROM_MS - since + PERIOD_MS) % PERIOD_MS;
  }

  /** Waits for that moment. Rejects when the signal is aborted. */
  async quiet(signal: AbortSignal): Promise<void> {
    const { waitMs } = this;
    if (waitMs > 0) await timers.setTimeout(waitMs, undefined, { signal });
  }
}
