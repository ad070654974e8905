import type { Logger } from 'pino';
import type { CriClient } from '../cri/client.ts';
import type { Host } from '../host/host.ts';
import type { EventSender } from '../publish/events.ts';
import type { Metrics } from '../publish/metrics.ts';
import { UnsandboxedReporter } from '../publish/unsandboxed.ts';
import { Bell } from '../trigger/bell.ts';
import { PodReader } from './read-pods.ts';
import { RequiredNamespaces } from './required-namespaces.ts';
import { hearContainers, type PodsSeen, watchPods } from './watch-pods.ts';

/** What looks at pods, and who hears of them. */
export type PodsOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly metrics: Metrics;
  /** Absent where no events are sent. */
  readonly events: EventSender | undefined;
  readonly log: Logger;
  /** A monotonic clock in milliseconds. */
  readonly now: () => number;
};

/** The namespaces that must be followed for it, and a function that watches this node's pods until a signal ends it. */
export function openPods({ client, host, metrics, events, log, now }: PodsOptions) {
  const bell = new Bell({ quietMs: 200, longestMs: 1_000, burst: 10, refillMs: 1_000, now });
  const namespaces = new RequiredNamespaces(() => bell.ring('namespaces'));
  const reporter = new UnsandboxedReporter(log, events);
  const watched = {
    reader: new PodReader(client, host),
    bell,
    required: () => namespaces.names,
    publish: (seen: PodsSeen) => {
      metrics.publishPods(seen, Date.now());
      reporter.publish(seen.unsandboxed);
    },
    log,
  };
  const run = async (signal: AbortSignal): Promise<void> => {
    await Promise.all([watchPods(watched, signal), hearContainers(client, bell, signal)]);
  };
  return { namespaces, run };
}
