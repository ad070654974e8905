import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { Backoff } from '../../lib/kube/backoff.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { eventObject, eventsPath, type KubeEvent, MAX_EVENT_MESSAGE } from '../../lib/kube/event.ts';
import type { Pod, WeakenedPod } from '../../lib/node/pods/pod.ts';
import { shortIds, truncateMiddle } from '../../lib/report/format.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import type { NodeOptions } from './writer.ts';

const PROBLEMS = {
  UnsandboxedPod: {
    level: 'error',
    line: 'a pod runs outside gVisor in a namespace that requires it',
    what: 'This pod runs on the kernel of the node, and its namespace requires gVisor (gvisor-ready.dev/require=true)',
    remedy: 'End it, and start it with a runtimeClassName of gVisor.',
  },
  WeakenedPod: {
    level: 'warn',
    line: 'the sandbox of a pod is weakened',
    what: 'The sandbox of this pod is weakened',
    remedy: 'Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.',
  },
} as const;

/** Reports each unsandboxed or weakened pod once, in the log and with an event on the pod. */
export class PodReporter {
  readonly #log: Logger;
  readonly #events: Pick<EventSender, 'send'> | undefined;
  #reported: ReadonlySet<string> = new Set();

  constructor(log: Logger, events: Pick<EventSender, 'send'> | undefined) {
    this.#log = log;
    this.#events = events;
  }

  publish(unsandboxed: readonly Pod[], weakened: readonly WeakenedPod[]): void {
    const reported = new Set<string>();
    const report = (reason: keyof typeof PROBLEMS, pod: Pod) => {
      const { namespace, name, uid, handler, evidence } = pod;
      const key = `${reason} ${namespace}/${name}/${uid}`;
      reported.add(key);
      if (this.#reported.has(key)) return;
      const { level, line, what, remedy } = PROBLEMS[reason];
      this.#log[level]({ reason, namespace, pod: name, uid, handler, evidence }, line);
      const message = `${what}: ${evidence}, handler "${handler}". ${remedy}`;
      this.#events?.send({ about: { kind: 'Pod', namespace, name, uid }, type: 'Warning', reason, message });
    };
    for (const pod of unsandboxed) report('UnsandboxedPod', pod);
    for (const pod of weakened) report('WeakenedPod', pod);
    this.#reported = reported;
  }
}

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
/** Older events are dropped; the condition says the same. */
const MAX_AGE_MS = 120_000;
const MAX_QUEUE = 16;

export type EventOptions = Pick<NodeOptions, 'kube' | 'node' | 'log' | 'date'>;

type Pending = { readonly path: string; readonly body: object; readonly atMs: number };

/** Sends from a queue with its own retries, so that nothing waits for an event. */
export class EventSender {
  readonly #options: EventOptions;
  readonly #queue: Pending[] = [];
  #wake = Promise.withResolvers<void>();
  #sent = 0;

  constructor(options: EventOptions) {
    this.#options = options;
  }

  /** It is dropped if it is refused for good, after two minutes, or when 16 newer ones are pending. */
  send(event: KubeEvent): void {
    const at = this.#options.date();
    const oldest = this.#queue.length >= MAX_QUEUE ? this.#queue.shift() : undefined;
    if (oldest !== undefined) this.#drop(oldest);
    const name = `${event.about.name.slice(0, 200)}.${at.getTime().toString(16)}.${++this.#sent}`;
    const source = { component: 'gvisor-ready', host: this.#options.node };
    const message = truncateMiddle(shortIds(event.message), MAX_EVENT_MESSAGE);
    const body = eventObject({ ...event, message }, { source, at, name });
    this.#queue.push({ path: eventsPath(event), body, atMs: at.getTime() });
    this.#wake.resolve();
  }

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

  async #post(event: Pending, signal: AbortSignal): Promise<void> {
    const { kube, log, date } = this.#options;
    const backoff = new Backoff(FIRST_RETRY_MS, MAX_RETRY_MS);
    while (!signal.aborted) {
      try {
        await kube.post(event.path, event.body, signal);
        return;
      } catch (err) {
        // 409: an earlier request created the event and its response was lost.
        if (signal.aborted || (err instanceof KubeError && err.status === 409)) return;
        const retryInMs = backoff.next(err);
        const isStale = date().getTime() + retryInMs - event.atMs > MAX_AGE_MS;
        if (isStale || isFinal(err)) return this.#drop(event, err);
        log.warn({ err, retryInMs }, 'cannot send the event');
        await timers.setTimeout(retryInMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  #drop({ body }: Pending, err?: unknown): void {
    this.#options.log.warn({ err, event: body }, 'event dropped');
  }
}

export function eventOf({ status, reason, message }: Verdict, name: string, uid: string): KubeEvent {
  const type = status === 'True' ? 'Normal' : 'Warning';
  return { about: { kind: 'Node', name, uid }, type, reason, message };
}

/** A 403 is not final: an API server that has just started may not have loaded its RBAC rules. */
function isFinal(err: unknown): boolean {
  if (!(err instanceof KubeError)) return false;
  if (err.status === 403) return /being terminated/.test(err.message);
  return err.status >= 400 && err.status < 500 && ![401, 408, 429].includes(err.status);
}
