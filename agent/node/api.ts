import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { Host } from '../host/host.ts';
import { readBootId } from '../host/system.ts';
import { inClusterAccess } from '../kube/access.ts';
import { type CountRequest, createKube, type Kube } from '../kube/client.ts';
import { fingerprintOf } from './desired.ts';
import { EventSender, eventOf } from './events.ts';
import { NodePublisher } from './publisher.ts';

/** What the wiring knows besides the settings. */
export type ApiOptions = {
  readonly version: string;
  readonly host: Host;
  readonly count: CountRequest;
  /** Hears whether the Node says that gVisor was ever proven on it. */
  readonly provenOnce: (provenOnce: boolean) => void;
  readonly log: Logger;
};

/** Something else that uses the API server for as long as the publisher does. */
export type KubeUser = { run(kube: Kube, log: Logger, signal: AbortSignal): Promise<void> };

/** All that writes to the API server, and a function that lets it, and another user, until a signal ends it. */
export type ApiPublisher = NonNullable<Awaited<ReturnType<typeof openApiPublisher>>>;

/** What writes verdicts to the API server as the settings say; undefined when they say nowhere. */
export async function openApiPublisher(
  config: Config,
  { version, host, count, provenOnce, log }: ApiOptions,
) {
  const { apiServer, publish } = config;
  if (apiServer === undefined || publish.length === 0) return undefined;
  const kube = createKube(await inClusterAccess(apiServer), { agent: `gvisor-ready/${version}`, count });
  const options = { kube, node: config.nodeName, log, date: () => new Date() };
  const events = publish.includes('events') ? new EventSender(options) : undefined;
  const node = new NodePublisher({
    ...options,
    taint: config.taint,
    fingerprint: fingerprintOf(version, config),
    boot: await readBootId(host),
    now: () => performance.now(),
    provenOnce,
    changed: (verdict, uid) => events?.send(eventOf(verdict, config.nodeName, uid)),
  });
  return {
    node,
    events,
    run: async (signal: AbortSignal, other: KubeUser) => {
      await Promise.all([node.run(signal), events?.run(signal), other.run(kube, log, signal)]);
      await kube.close();
    },
  };
}
