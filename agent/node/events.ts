import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { Backoff } from '../kube/backoff.ts';
import { KubeError } from '../kube/error.ts';
import { eventObject, eventsPath, type KubeEvent, MAX_EVENT_MESSAGE } from '../kube/event.ts';
import type { Pod, WeakenedPod } from '../pods/pod.ts';
import { errorLine } from '../sanitize.ts';
import { shorten, shortIds } from '../text/format.ts';
import type { Verdict } from '../verdict.ts';
import type { NodeOptions } from './writer.ts';

/** The reasons in events on pods: one that must run in gVisor and does not, and one whose sandbox is weakened. */
const UNSANDBOXED = 'UnsandboxedPod';
const WEAKENED = 'WeakenedPod';

/** Reports each such pod once: in the log, and with an event on the pod. */
export class PodReporter {
  readonly #log: Logger;
  readonly #events: Pick<EventSender, 'send'> | undefined;
  #reported: ReadonlySet<string> = new Set();

  constructor(log: Logger, events: Pick<EventSender, 'send'> | undefined) {
    this.#log = log;
    this.#events = events;
  }

  publish(unsandboxed: readonly Pod[], weakened: readonly WeakenedPod[]): void {
    for (const pod of unsandboxed)
      if (!this.#reported.has(keyOf(UNSANDBOXED, pod))) this.#reportUnsandboxed(pod);
    for (const pod of weakened) if (!this.#reported.has(keyOf(WEAKENED, pod))) this.#reportWeakened(pod);
    this.#reported = new Set([
      ...unsandboxed.map((pod) => keyOf(UNSANDBOXED, pod)),
      ...weakened.map((pod) => keyOf(WEAKENED, pod)),
    ]);
  }

  #reportUnsandboxed(pod: Pod): void {
    const { handler, evidence } = pod;
    const fields = { reason: UNSANDBOXED, ...named(pod), handler, evidence };
    this.#log.error(fields, 'a pod runs outside gVisor in a namespace that requires it');
    const message = `This pod runs on the kernel of the node, and its namespace requires gVisor (require-gvisor=true): ${evidence}, handler "${handler}". End it, and start it with a runtimeClassName of gVisor.`;
    this.#send(pod, UNSANDBOXED, message);
  }

  #reportWeakened(pod: WeakenedPod): void {
    const { handler, evidence } = pod;
    this.#log.warn(
      { reason: WEAKENED, ...named(pod), handler, evidence },
      'the sandbox of a pod is weakened',
    );
    const message = `The sandbox of this pod is weakened: ${evidence}, handler "${handler}". Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.`;
    this.#send(pod, WEAKENED, message);
  }

  #send({ namespace, name, uid }: Pod, reason: string, message: string): void {
    this.#events?.send({ about: { kind: 'Pod', namespace, name, uid }, type: 'Warning', reason, message });
  }
}

function named({ namespace, name, uid }: Pod) {
  return { namespace, pod: name, uid };
}

function keyOf(reason: string, { namespace, name, uid }: Pod): string {
  return `${reason} ${namespace}/${name}/${uid}`;
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;
/** An event that could not be sent for so long is dropped: the condition says the same. */
const STALE_MS = 120_000;
const LONGEST_QUEUE = 16;

/** What a sender of events needs. */
export type EventOptions = Pick<NodeOptions, 'kube' | 'node' | 'log' | 'date'>;

type Waiting = { readonly path: string; readonly body: object; readonly atMs: number };

/**
 * Sends events on the Node and on its pods, as `kubectl describe` shows them. It has its own retries, so
 * nothing ever waits for an event.
 */
export class EventSender {
  readonly #options: EventOptions;
  /** Those that wait; the one that is being sent is not among them. */
  readonly #queue: Waiting[] = [];
  readonly #warned = new Set<string>();
  #wake = Promise.withResolvers<void>();
  #sent = 0;

  constructor(options: EventOptions) {
    this.#options = options;
  }

  /** Sends an event as soon as can be; drops it when it is refused for good, after two minutes, or when sixteen later ones wait. */
  send(event: KubeEvent): void {
    const at = this.#options.date();
    const oldest = this.#queue.length >= LONGEST_QUEUE ? this.#queue.shift() : undefined;
    if (oldest !== undefined) this.#drop(oldest);
    const name = `${event.about.name.slice(0, 200)}.${at.getTime().toString(16)}.${++this.#sent}`;
    const source = { component: 'gvisor-ready', host: this.#options.node };
    const message = shorten(shortIds(event.message), MAX_EVENT_MESSAGE);
    const body = eventObject({ ...event, message }, { source, at, name });
    this.#queue.push({ path: eventsPath(event), body, atMs: at.getTime() });
    this.#wake.resolve();
  }

  /** Sends until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.resolve());
    while (!signal.aborted) {
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        await this.#post(next, signal);
      }
    }
  }

  /** Sends one event that is no longer in the queue, so that nothing but its own age drops it. */
  async #post(event: Waiting, signal: AbortSignal): Promise<void> {
    const { kube, date } = this.#options;
    const backoff = new Backoff(FIRST_RETRY_MS, LAST_RETRY_MS);
    while (!signal.aborted) {
      try {
        await kube.post(event.path, event.body, signal);
        this.#warned.clear();
        return;
      } catch (err) {
        // A name that is taken is this event, sent before by a request whose answer got lost.
        if (signal.aborted || (err instanceof KubeError && err.status === 409)) return;
        const retryInMs = backoff.next(err);
        const isStale = date().getTime() + retryInMs - event.atMs > STALE_MS;
        if (isStale || isFinal(err)) return this.#drop(event, err);
        this.#warn(err, retryInMs);
        await timers.setTimeout(retryInMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Warns of each error once, until an event was sent. */
  #warn(err: unknown, retryInMs: number): void {
    const line = errorLine(err);
    const level = this.#warned.has(line) ? 'debug' : 'warn';
    this.#warned.add(line);
    this.#options.log[level]({ err, retryInMs }, 'cannot send the event');
  }

  #drop({ body }: Waiting, err?: unknown): void {
    this.#options.log.warn({ err, event: body }, 'event dropped');
  }
}

/** The event on a Node of this uid for a verdict that was written to it. */
export function eventOf({ status, reason, message }: Verdict, name: string, uid: string): KubeEvent {
  const type = status === 'True' ? 'Normal' : 'Warning';
  return { about: { kind: 'Node', name, uid }, type, reason, message };
}

/** Whether the same request would be refused again. An API server that has just started forbids what it allows a moment later. */
function isFinal(err: unknown): boolean {
  if (!(err instanceof KubeError)) return false;
  if (err.status === 403) return /being terminated/.test(err.message);
  return err.status >= 400 && err.status < 500 && ![401, 408, 429].includes(err.status);
}
