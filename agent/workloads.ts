import { Host } from '../lib/host/host.ts';
import { SandboxScanner } from '../lib/sandboxes/scanner.ts';
import type { NodeEvaluator } from './evaluate.ts';
import type { NodeParts } from './handler.ts';
import type { Metrics } from './http/metrics.ts';
import { Evidence, type EvidenceOptions } from './pods/evidence.ts';
import { PodMonitor } from './pods/monitor.ts';
import { RequiredNamespaces } from './pods/namespaces.ts';
import { SandboxMonitor } from './pods/sandbox-monitor.ts';
import type { Prover } from './proof/prover.ts';
import type { ApiPublisher } from './publish/api.ts';
import { createPodReporter } from './publish/events.ts';

/** Of the daemon alone. */
type Daemon = {
  readonly metrics?: Metrics;
  readonly api?: ApiPublisher | undefined;
  readonly onFailedStart?: () => void;
  readonly onOutside?: (handlers: ReadonlySet<string>) => void;
  /** Undefined if it is off. */
  readonly writeEvidence?: EvidenceOptions['write'] | undefined;
};

/** The monitors of pods and sandboxes, the namespaces that they need to know, and the lines about pods. */
export function openWorkloads(
  { config, client, programs, log }: NodeParts,
  handlers: readonly {
    readonly name: string;
    readonly evaluator: Pick<NodeEvaluator, 'probeFlags'>;
    readonly prover: Pick<Prover, 'ranAt'>;
  }[],
  { metrics, api, onFailedStart, onOutside, writeEvidence: write }: Daemon = {},
) {
  const host = new Host(config.hostRoot);
  const namespaces = new RequiredNamespaces(() => metrics?.publishNamespaces(Date.now()));
  if (api !== undefined) metrics?.publishNamespaces(0);
  const names = handlers.map(({ name }) => name);
  const reportPods = createPodReporter(log, api?.events, names);
  const { nodeName: node, podUid } = config;
  const parts = { client, host, programs, node, handlers: names, podUid, log };
  const evidence = write && new Evidence({ ...parts, write });
  const pods = new PodMonitor({
    client,
    host,
    namespaces,
    handlers: names,
    probes: () => handlers.flatMap(({ evaluator }) => evaluator.probeFlags ?? []),
    onFailedStart,
    isProbe: (ms) => handlers.some(({ prover }) => prover.ranAt(ms)),
    onOutside,
    onRead: (observed, required) => {
      metrics?.publishPods(observed, required);
      reportPods(observed.unsandboxed, observed.weakened);
      evidence?.note(pods.sandboxes, required);
    },
    log,
  });
  const sentries = () => pods.sentries;
  const [now, wallMs] = [() => performance.now(), Date.now];
  const scanner = new SandboxScanner({ client, host, programs, sentries, now, wallMs });
  const sandboxes = new SandboxMonitor({ scanner, host, log, wallMs, onScan: metrics?.publishSandboxes });
  return { pods, namespaces, sandboxes, evidence };
}
