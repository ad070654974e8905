import { Host } from '../lib/node/host/host.ts';
import type { ProbeFlags } from '../lib/node/pods/pod.ts';
import { SandboxScanner } from '../lib/node/sandboxes/scanner.ts';
import type { Node } from './handler.ts';
import type { Metrics } from './http/metrics.ts';
import { PodMonitor } from './pods/monitor.ts';
import { RequiredNamespaces } from './pods/namespaces.ts';
import { SandboxMonitor } from './pods/sandbox-monitor.ts';
import type { ApiPublisher } from './publish/api.ts';
import { PodReporter } from './publish/events.ts';

type PodSinks = {
  readonly metrics: Metrics;
  readonly probes: () => readonly ProbeFlags[];
  readonly api: ApiPublisher | undefined;
  readonly onSamePods: () => void;
};

/** The monitors of pods and sandboxes, and the namespaces that they need to know. */
export function openPods(node: Node, { metrics, probes, api, onSamePods }: PodSinks) {
  const { config, log, client } = node;
  const host = new Host(config.hostRoot);
  const namespaces = new RequiredNamespaces(() => metrics.publishNamespaces(Date.now()));
  if (api !== undefined) metrics.publishNamespaces(0);
  const podReporter = new PodReporter(log, api?.events);
  const pods = new PodMonitor({
    client,
    host,
    namespaces,
    probes,
    onSamePods,
    onRead: (observed, required) => {
      metrics.publishPods(observed, required);
      podReporter.publish(observed.unsandboxed, observed.weakened);
    },
    log,
  });
  return { pods, namespaces, sandboxes: openSandboxes(node, host, pods, metrics) };
}

export function openSandboxes(
  { client, programs, log }: Node,
  host: Host,
  pods: PodMonitor,
  metrics?: Metrics,
) {
  const sentries = () => pods.sentries;
  const scanner = new SandboxScanner({
    client,
    host,
    programs,
    sentries,
    now: () => performance.now(),
    wallMs: Date.now,
  });
  return new SandboxMonitor({ scanner, host, log, wallMs: Date.now, onScan: metrics?.publishSandboxes });
}
