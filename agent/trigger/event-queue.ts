import timers from 'node:timers/promises';
import { waitUpTo } from '../../lib/base/async.ts';

export type ContainerdState = 'gone' | 'back' | 'slow' | 'responsive';

/**
 * `confirm` repeats one after a failure, `probe` is the end of a probe that outlasted its evaluation, `pods` a pod that
 * could not start, or runs outside gVisor.
 */
export type Trigger =
  | { readonly kind: 'start' | 'timer' | 'confirm' | 'probe' | 'pods' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'containerd'; readonly state: ContainerdState };

/** Such as "file /usr/local/bin/runsc". */
export function triggerText(trigger: Trigger): string {
  if (trigger.kind === 'file') return `file ${trigger.path}`;
  if (trigger.kind === 'containerd') return `containerd is ${trigger.state}`;
  return trigger.kind;
}

/** Timers, slow responses and the end of a probe change nothing on the node. */
export function isChange(trigger: Trigger): boolean {
  if (trigger.kind === 'containerd') return trigger.state === 'gone' || trigger.state === 'back';
  return trigger.kind === 'start' || trigger.kind === 'file';
}

/** Times in milliseconds. */
export type EventQueueOptions = {
  readonly debounceMs: number;
  readonly maxDelayMs: number;
  /** Batches that may follow each other without a pause. */
  readonly burst: number;
  /** The time until the bucket gains a token, and so the longest extra delay of an event. */
  readonly refillMs: number;
  readonly now: () => number;
};

/** Hands out events in debounced, rate-limited batches, without duplicates. */
export class EventQueue<Event> {
  readonly #options: EventQueueOptions;
  /** Each batch postpones it by one refill. */
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #events = new Map<string, Event>();
  #lastPushMs = 0;
  #pushed = Promise.withResolvers<void>();

  constructor(options: EventQueueOptions) {
    this.#options = options;
  }

  push(event: Event): void {
    const key = JSON.stringify(event);
    if (!this.#events.has(key)) this.#events.set(key, event);
    this.#lastPushMs = this.#options.now();
    this.#pushed.resolve();
  }

  /** Resolves with the next batch in order of arrival, empty on timeout. */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<readonly Event[]> {
    const { now, refillMs } = this.#options;
    const deadlineMs = now() + timeoutMs;
    await waitUpTo(this.#pushed.promise, timeoutMs, signal);
    signal.throwIfAborted();
    if (this.#events.size > 0) {
      await this.#debounce(signal);
      await this.#takeToken(deadlineMs, signal);
      this.#fullAtMs = Math.max(this.#fullAtMs, now()) + refillMs;
    }
    const events = [...this.#events.values()];
    this.#events = new Map();
    // A new promise for each batch: a pending one keeps alive all that was ever raced against it.
    this.#pushed = Promise.withResolvers<void>();
    return events;
  }

  async #debounce(signal: AbortSignal): Promise<void> {
    const { now, debounceMs, maxDelayMs } = this.#options;
    const firstMs = now();
    for (;;) {
      const restMs = Math.min(this.#lastPushMs + debounceMs, firstMs + maxDelayMs) - now();
      if (restMs <= 0) return;
      await timers.setTimeout(restMs, undefined, { signal });
    }
  }

  async #takeToken(deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { now, burst, refillMs } = this.#options;
    const allowedMs = this.#fullAtMs - (burst - 1) * refillMs;
    const waitMs = Math.min(allowedMs, deadlineMs) - now();
    if (waitMs > 0) await timers.setTimeout(waitMs, undefined, { signal });
  }
}
