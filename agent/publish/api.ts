import type { Logger } from 'pino';
import type { Host } from '../../lib/host/host.ts';
import { readBootId } from '../../lib/host/system.ts';
import { inClusterAccess } from '../../lib/kube/access.ts';
import { type CountRequest, createKube, type Kube } from '../../lib/kube/client.ts';
import { createEventSender } from '../../lib/kube/event.ts';
import type { Config } from '../start/config.ts';
import { fingerprintOf } from './desired.ts';
import { eventOf } from './events.ts';
import { NodePublisher, type PublisherOptions } from './publisher.ts';

export type ApiOptions = {
  readonly version: string;
  readonly host: Host;
  readonly count: CountRequest;
  readonly say: PublisherOptions['say'];
  readonly log: Logger;
};

export type KubeUser = { run(kube: Kube, log: Logger, signal: AbortSignal): Promise<void> };

export type ApiPublisher = NonNullable<Awaited<ReturnType<typeof openApiPublisher>>>;

/** Undefined if PUBLISH is empty. */
export async function openApiPublisher(config: Config, { version, host, count, say, log }: ApiOptions) {
  const { apiServer, publish, nodeName, taint, handler, additionalHandlers } = config;
  if (apiServer === undefined || publish.length === 0) return undefined;
  const kube = createKube(await inClusterAccess(apiServer), { agent: `gvisor-ready/${version}`, count });
  const options = { kube, node: nodeName, log, date: () => new Date() };
  const source = { component: 'gvisor-ready', host: nodeName };
  const events = publish.includes('events') ? createEventSender(options, source) : undefined;
  const node = new NodePublisher({
    ...options,
    taint,
    handlers: [handler, ...additionalHandlers],
    fingerprint: fingerprintOf(version, config),
    boot: await readBootId(host),
    now: () => performance.now(),
    say,
    onChange: (verdict, uid) => events?.send(eventOf(verdict, nodeName, uid)),
  });
  return {
    node,
    events,
    run: async (signal: AbortSignal, other: KubeUser) => {
      await Promise.all([node.run(signal), other.run(kube, log, signal)]);
      await kube.close();
    },
  };
}
