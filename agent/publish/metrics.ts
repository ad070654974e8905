import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PodsSeen } from '../pods/watch-pods.ts';
import type { Report } from '../report.ts';
import { processMetrics } from './process-metrics.ts';
import type { Publisher } from './publisher.ts';

/** How many namespaces have a series of their own. */
const MOST_NAMESPACES = 50;

/** The agent's metrics, all named gvisor_* beside prom-client's own of the process. */
export class Metrics implements Publisher {
  readonly name = 'metrics';
  readonly #registry = new Registry();
  readonly #status = this.#gauge(
    'gvisor_node_status',
    'Published verdict of this node, 1 for the status in force.',
    ['status'],
  );
  readonly #reason = this.#gauge('gvisor_node_reason', 'Reason code of the published verdict.', ['reason']);
  readonly #checks = this.#gauge('gvisor_check_status', 'Result of each check, 1 for the status in force.', [
    'check',
    'status',
  ]);
  readonly #durations = this.#gauge(
    'gvisor_check_duration_seconds',
    'Duration of each check in the last look.',
    ['check'],
  );
  readonly #proven = this.#gauge(
    'gvisor_last_proof_timestamp_seconds',
    'When a sandbox was last proven to run in gVisor, Unix time.',
    [],
  );
  readonly #interval = this.#gauge(
    'gvisor_proof_interval_seconds',
    'Time between proofs when nothing changes.',
    [],
  );
  readonly #info = this.#gauge('gvisor_node_info', 'Releases on this node.', [
    'runsc',
    'platform',
    'containerd',
    'kernel',
  ]);
  readonly #probes = this.#counter('gvisor_probes_total', 'Probe sandboxes by outcome.', ['outcome']);
  readonly #transitions = this.#counter(
    'gvisor_transitions_total',
    'Changes of the published verdict by new reason.',
    ['reason'],
  );
  readonly #requests = this.#counter(
    'gvisor_api_requests_total',
    'Requests to the API server by verb and code.',
    ['verb', 'code'],
  );
  readonly #boot = new Histogram({
    name: 'gvisor_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40, 80, 160],
    registers: [this.#registry],
  });
  readonly #pods = this.#gauge(
    'gvisor_pods',
    'Running pods by the CRI handler that they were started with, and by whether they really run in gVisor.',
    ['handler', 'sandboxed'],
  );
  readonly #unsandboxed = this.#gauge(
    'gvisor_unsandboxed_pods',
    'Running pods outside gVisor in namespaces labelled require-gvisor=true; those of further namespaces under "".',
    ['namespace'],
  );
  readonly #unlimited = this.#gauge(
    'gvisor_unlimited_pods',
    'Running pods in gVisor whose sandbox lies outside of the kubelet’s cgroup for it, so that no limit holds.',
    [],
  );
  readonly #leftovers = this.#gauge(
    'gvisor_probe_leftovers',
    'Sandboxes of earlier probes that containerd cannot remove.',
    [],
  );
  readonly #unwatched = this.#gauge(
    'gvisor_unwatched_folders',
    'Folders that cannot be watched, so that a fault in them is seen some seconds later.',
    [],
  );
  readonly #podsSeen = this.#gauge(
    'gvisor_pods_last_seen_timestamp_seconds',
    'When the pods of this node were last read, Unix time.',
    [],
  );
  #last: Report | undefined;
  #counted: Report['proof'] | undefined;

  constructor(version: string, proofIntervalMs = 0) {
    this.#interval.set(proofIntervalMs / 1_000);
    processMetrics(this.#registry);
    this.#gauge('gvisor_build_info', 'The agent’s version.', ['version']).set({ version }, 1);
    for (const status of ['True', 'False', 'Unknown'])
      this.#status.set({ status }, status === 'Unknown' ? 1 : 0);
  }

  #gauge<L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  publish(report: Report): void {
    const { verdict, findings, facts } = report;
    for (const status of ['True', 'False', 'Unknown'])
      this.#status.set({ status }, Number(verdict.status === status));
    this.#reason.reset();
    this.#reason.set({ reason: verdict.reason }, 1);
    for (const { check, status, durationMs } of findings) {
      for (const each of ['pass', 'fail', 'unknown'])
        this.#checks.set({ check, status: each }, Number(each === status));
      this.#durations.set({ check }, durationMs / 1_000);
    }
    this.#info.reset();
    const { runsc = '', platform = '', containerd = '', kernel = '' } = facts;
    this.#info.set({ runsc, platform, containerd, kernel }, 1);
    const old = this.#last?.verdict;
    if (old?.status !== verdict.status || old.reason !== verdict.reason)
      this.#transitions.inc({ reason: verdict.reason });
    this.#last = report;
  }

  count({ proof, provenAt }: Report): void {
    if (proof === this.#counted) return; // it stands since an earlier look
    this.#counted = proof;
    this.#probes.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#proven.set(Date.parse(provenAt ?? '') / 1_000);
  }

  /** Shows the pods of this node, read at this wall clock time in milliseconds. */
  publishPods({ pods, unsandboxed }: PodsSeen, atMs: number): void {
    this.#pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      this.#pods.inc({ handler, sandboxed: String(sandboxed) });
    this.#unsandboxed.reset();
    const named = [...new Set(unsandboxed.map(({ namespace }) => namespace))]
      .sort()
      .slice(0, MOST_NAMESPACES);
    for (const { namespace } of unsandboxed)
      this.#unsandboxed.inc({ namespace: named.includes(namespace) ? namespace : '' });
    this.#unlimited.set(pods.filter(({ limited }) => limited === false).length);
    this.#podsSeen.set(atMs / 1_000);
  }

  /** Shows how many folders cannot be watched. */
  readonly publishUnwatched = (folders: number): void => {
    this.#unwatched.set(folders);
  };

  /** Shows how many sandboxes of earlier probes are left. */
  readonly publishLeftovers = (left: number): void => {
    this.#leftovers.set(left);
  };

  /** Counts one request to the API server. */
  readonly countRequest = (verb: string, code: number): void => {
    this.#requests.inc({ verb, code: String(code) });
  };

  /** The text of /metrics and its content type: OpenMetrics for whoever accepts it, else Prometheus' own. */
  async text(accept = ''): Promise<{ readonly body: string; readonly type: string }> {
    const body = await this.#registry.metrics();
    return accept.includes('application/openmetrics-text')
      ? { body: openMetrics(body), type: Registry.OPENMETRICS_CONTENT_TYPE }
      : { body, type: this.#registry.contentType };
  }
}

/**
 * Prometheus text as OpenMetrics 1.0: a counter's family is named without "_total", no line is empty, and
 * the end is marked. Not left to prom-client, which renames the counters of the registry for good.
 * Source: https://github.com/prometheus/OpenMetrics/blob/main/legacy/specification/OpenMetrics.md
 */
function openMetrics(text: string): string {
  const families = text.replace(
    /^# HELP (\S+)_total (.*)\n# TYPE \S+ counter$/gm,
    '# HELP $1 $2\n# TYPE $1 counter',
  );
  return `${families.replace(/\n{2,}/g, '\n')}# EOF\n`;
}
