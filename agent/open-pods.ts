import type { Logger } from 'pino';
import type { CriClient } from './cri/client.ts';
import type { Host } from './host/host.ts';
import type { Metrics } from './http/metrics.ts';
import type { ApiPublisher } from './node/api.ts';
import { UnsandboxedReporter } from './node/unsandboxed.ts';
import { type PodsOutside, podsOutside } from './pods/outside.ts';
import { PodReader } from './pods/read-pods.ts';
import { RequiredNamespaces } from './pods/required-namespaces.ts';
import { hearContainers, type PodsSeen, watchPods } from './pods/watch-pods.ts';
import { Bell } from './trigger/bell.ts';

/** What looks at pods, and who hears of them. */
export type PodsOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly metrics: Metrics;
  /** Who tells which namespaces require gVisor, and sends events; absent on a single host. */
  readonly api: Pick<ApiPublisher, 'events'> | undefined;
  readonly log: Logger;
  /** A monotonic clock in milliseconds. */
  readonly now: () => number;
};

/**
 * The namespaces that must be followed for it, a function that watches this node's pods until a signal ends it, one that
 * reads them once, and one that tells which run outside of gVisor: undefined before they were read.
 */
export function openPods({ client, host, metrics, api, log, now }: PodsOptions) {
  const bell = new Bell<string>({ quietMs: 200, longestMs: 1_000, burst: 10, refillMs: 1_000, now });
  const namespaces = new RequiredNamespaces(() => {
    metrics.pods.heardNamespaces(Date.now());
    bell.ring('namespaces');
  });
  if (api !== undefined) metrics.pods.followNamespaces();
  const reporter = new UnsandboxedReporter(log, api?.events);
  let last: { readonly seen: PodsSeen; readonly atMs: number } | undefined;
  const watched = {
    reader: new PodReader(client, host),
    bell,
    required: () => namespaces.names,
    publish: (seen: PodsSeen) => {
      last = { seen, atMs: Date.now() };
      metrics.pods.publish(seen, { atMs: last.atMs, required: namespaces.names });
      reporter.publish(seen.unsandboxed);
    },
    log,
  };
  const run = async (signal: AbortSignal): Promise<void> => {
    await Promise.all([watchPods(watched, signal), hearContainers(client, bell, signal)]);
  };
  const readOnce = async (signal: AbortSignal): Promise<PodsOutside | undefined> => {
    last = { seen: { pods: await watched.reader.read(signal), unsandboxed: [] }, atMs: Date.now() };
    return outside();
  };
  const outside = (): PodsOutside | undefined =>
    last === undefined
      ? undefined
      : podsOutside(last.seen, {
          atMs: last.atMs,
          nowMs: Date.now(),
          requirementsKnown: namespaces.known,
        });
  return { namespaces, run, readOnce, outside };
}
