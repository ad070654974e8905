import type { Logger } from 'pino';
import type { Kube } from './client.ts';

/** Characters. */
export const MAX_EVENT_MESSAGE = 1_024;

/** Events on cluster-scoped objects are in the namespace "default". */
export type KubeEvent = {
  readonly about: {
    readonly kind: string;
    readonly apiVersion?: string;
    readonly namespace?: string;
    readonly name: string;
    readonly uid?: string;
  };
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
};

type EventSource = { readonly component: string; readonly host?: string };

/** A burst after a reboot of the whole fleet. */
const MAX_PENDING = 1_000;

export type EventSender = ReturnType<typeof createEventSender>;

/** Sends each event once, one after another. A failure is only logged: the Node, reports and metrics say the same. */
export function createEventSender(
  { kube, log }: { readonly kube: Pick<Kube, 'post'>; readonly log: Logger },
  source: EventSource,
) {
  let sending = Promise.resolve();
  let pending = 0;
  const send = (event: KubeEvent): void => {
    if (pending >= MAX_PENDING) {
      log.warn({ event }, 'event dropped');
      return;
    }
    pending += 1;
    const body = eventObject(event, source, new Date());
    const path = `/api/v1/namespaces/${event.about.namespace ?? 'default'}/events`;
    sending = sending
      .then(() => kube.post(path, body))
      .catch((err: unknown) => log.warn({ err, event }, 'cannot send the event'))
      .then(() => {
        pending -= 1;
      });
  };
  return { send };
}

/**
 * Truncates the message to {@link MAX_EVENT_MESSAGE}. Source:
 * https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/, in its core form
 */
function eventObject({ about, type, reason, message }: KubeEvent, source: EventSource, at: Date): object {
  const time = at.toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { generateName: `${about.name.slice(0, 200)}.`, namespace: about.namespace ?? 'default' },
    involvedObject: { apiVersion: 'v1', ...about },
    type,
    reason,
    message: message.slice(0, MAX_EVENT_MESSAGE),
    source,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}
