import timers from 'node:timers/promises';
import { waitUpTo } from '../async.ts';

/** What became of containerd: its connection broke or came back, or it alone answers late or in time. */
export type ContainerdIs = 'gone' | 'back' | 'late' | 'in time again';

/** Why a look begins. `confirm` is the second look after a failure; `boot` is the end of a boot that outlasted a look. */
export type Trigger =
  | { readonly kind: 'start' | 'timer' | 'confirm' | 'boot' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'containerd'; readonly is: ContainerdIs };

/** The trigger in words, for people: "file /usr/local/bin/runsc", "containerd is gone". */
export function triggerText(trigger: Trigger): string {
  if (trigger.kind === 'file') return `file ${trigger.path}`;
  if (trigger.kind === 'containerd') return `containerd is ${trigger.is}`;
  return trigger.kind;
}

/** Whether something happened on the node: a timer, a late answer and the end of a boot change nothing there. */
export function isChange(trigger: Trigger): boolean {
  if (trigger.kind === 'containerd') return trigger.is === 'gone' || trigger.is === 'back';
  return trigger.kind === 'start' || trigger.kind === 'file';
}

/** How events become looks, in milliseconds and numbers. */
export type EventQueueOptions = {
  /** An event waits for the next until none has come for this long, */
  readonly debounceMs: number;
  /** but no longer than this. */
  readonly maxDelayMs: number;
  /** So many looks may follow each other at once, */
  readonly burst: number;
  /** and one more each time this long has passed: a further event waits no longer than that. */
  readonly refillMs: number;
  readonly now: () => number;
};

/** Gathers events of all triggers into single calls to look; a thousand events cost one. Equal events are one. */
export class EventQueue<Event> {
  readonly #options: EventQueueOptions;
  /** When a whole burst is allowed again; each look puts it off by one refill. */
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #rung = new Map<string, Event>();
  #lastRingMs = 0;
  #ringing = Promise.withResolvers<void>();

  constructor(options: EventQueueOptions) {
    this.#options = options;
  }

  /** Tells of an event. */
  push(event: Event): void {
    const key = JSON.stringify(event);
    if (!this.#rung.has(key)) this.#rung.set(key, event);
    this.#lastRingMs = this.#options.now();
    this.#ringing.resolve();
  }

  /**
   * Waits for an event, or for `timeoutMs` to pass, and tells which: all events, each once and the first first, or
   * none for the timeout. Rejects when the signal is aborted.
   */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<readonly Event[]> {
    const { now, refillMs } = this.#options;
    const deadline = now() + timeoutMs;
    await waitUpTo(this.#ringing.promise, timeoutMs, signal);
    signal.throwIfAborted();
    if (this.#rung.size > 0) {
      await this.#settle(deadline, signal);
      this.#fullAtMs = Math.max(this.#fullAtMs, now()) + refillMs;
    }
    const events = [...this.#rung.values()];
    this.#rung = new Map();
    // A promise that stays pending keeps everything that was ever raced against it.
    this.#ringing = Promise.withResolvers<void>();
    return events;
  }

  async #settle(deadline: number, signal: AbortSignal): Promise<void> {
    const { now, debounceMs, maxDelayMs, burst, refillMs } = this.#options;
    const first = now();
    for (;;) {
      const restMs = Math.min(this.#lastRingMs + debounceMs, first + maxDelayMs) - now();
      if (restMs <= 0) break;
      await timers.setTimeout(restMs, undefined, { signal });
    }
    const allowedAt = this.#fullAtMs - (burst - 1) * refillMs;
    const wait = Math.min(allowedAt, deadline) - now();
    if (wait > 0) await timers.setTimeout(wait, undefined, { signal });
  }
}
