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

export type EventOrigin = {
  readonly source: { readonly component: string; readonly host?: string };
  readonly at: Date;
} & ({ readonly name: string } | { readonly generateName: string });

export function eventsPath({ about }: KubeEvent): string {
  return `/api/v1/namespaces/${about.namespace ?? 'default'}/events`;
}

/**
 * Truncates the message to {@link MAX_EVENT_MESSAGE}. Source:
 * https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/, in its core form
 */
export function eventObject(event: KubeEvent, { source, at, ...named }: EventOrigin): object {
  const { about, type, reason, message } = event;
  const time = at.toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { ...named, namespace: about.namespace ?? 'default' },
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
