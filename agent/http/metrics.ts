import { Histogram, Registry } from 'prom-client';
import type { Publisher } from '../publisher.ts';
import { REASONS } from '../reasons.ts';
import type { Report } from '../report.ts';
import { hasTraces } from './expected.ts';
import { PodMetrics } from './pod-metrics.ts';
import { processMetrics } from './process-metrics.ts';
import { Series } from './series.ts';

const STATUSES = ['True', 'False', 'Unknown'];
const OUTCOMES: readonly Report['proof']['kind'][] = [
  'proven',
  'failed',
  'stuck',
  'slow',
  'interrupted',
  'impossible',
];

/** The agent's metrics, all named gvisor_* beside those of the process. */
export class Metrics implements Publisher {
  /** The metrics of this node's pods. */
  readonly pods: PodMetrics;
  readonly #series = new Series(new Registry());
  readonly #status = this.#series.gauge(
    'gvisor_node_status',
    'Published verdict of this node, 1 for the status in force.',
    ['status'],
  );
  readonly #reason = this.#series.gauge('gvisor_node_reason', 'Reason code of the published verdict.', [
    'reason',
  ]);
  readonly #checks = this.#series.gauge(
    'gvisor_check_status',
    'Result of each check, 1 for the status in force.',
    ['check', 'status'],
  );
  readonly #durations = this.#series.gauge(
    'gvisor_check_duration_seconds',
    'Duration of each check in the last look.',
    ['check'],
  );
  readonly #proven = this.#series.gauge(
    'gvisor_last_proof_timestamp_seconds',
    'When a sandbox was last proven to run in gVisor, Unix time.',
  );
  readonly #interval = this.#series.gauge(
    'gvisor_proof_interval_seconds',
    'Time between proofs when nothing changes.',
  );
  readonly #info = this.#series.gauge('gvisor_node_info', 'Releases on this node.', [
    'runsc',
    'platform',
    'containerd',
    'kernel',
  ]);
  readonly #probes = this.#series.counter('gvisor_probes_total', 'Probe sandboxes by outcome.', ['outcome']);
  readonly #transitions = this.#series.counter(
    'gvisor_transitions_total',
    'Changes of the published verdict by new reason.',
    ['reason'],
  );
  readonly #requests = this.#series.counter(
    'gvisor_api_requests_total',
    'Requests to the API server by verb and code.',
    ['verb', 'code'],
  );
  readonly #boot = new Histogram({
    name: 'gvisor_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40, 80, 160],
    registers: [this.#series.registry],
  });
  readonly #leftovers = this.#series.gauge(
    'gvisor_probe_leftovers',
    'Sandboxes of earlier probes that containerd cannot remove.',
  );
  readonly #unwatched = this.#series.gauge(
    'gvisor_unwatched_folders',
    'Folders that cannot be watched, so that a fault in them is seen some seconds later.',
  );
  readonly #lastBoot = this.#series.gauge(
    'gvisor_last_boot_seconds',
    'How long the last sandbox took from the request until it was ready.',
  );
  readonly #expected = this.#series.gauge(
    'gvisor_node_expected',
    'Whether this node should run gVisor: it was once proven here, a part of it is installed here, or EXPECT_GVISOR says so.',
  );
  readonly #expectGvisor: boolean;
  /** Whether gVisor was ever proven here, and whether anything of it is here, as far as that could be told. */
  #provenOnce: boolean | undefined;
  #traces: boolean | undefined;
  #last: Report | undefined;
  #counted: Report['proof'] | undefined;

  /** `expectGvisor`: whether gVisor is expected on every node. */
  constructor(version: string, proofIntervalMs = 0, expectGvisor = false) {
    this.#expectGvisor = expectGvisor;
    this.#interval.set(proofIntervalMs / 1_000);
    processMetrics(this.#series.registry);
    this.pods = new PodMetrics(this.#series);
    this.#series.gauge('gvisor_build_info', "The agent's version.", ['version']).set({ version }, 1);
    this.#series.reading(
      'gvisor_time_seconds',
      "The node's clock at the scrape, Unix time: the ages of the other times are told by it.",
      () => Date.now() / 1_000,
    );
    for (const outcome of OUTCOMES) this.#probes.inc({ outcome }, 0);
    for (const reason of Object.keys(REASONS)) this.#transitions.inc({ reason }, 0);
    // Not known before something was told.
    this.#lastBoot.remove();
    this.#expected.remove();
  }

  publish(report: Report): void {
    const { verdict, findings, facts } = report;
    for (const status of STATUSES) this.#status.set({ status }, Number(verdict.status === status));
    this.#reason.reset();
    this.#reason.set({ reason: verdict.reason }, 1);
    for (const { check, status, durationMs } of findings) {
      for (const each of ['pass', 'fail', 'unknown', 'skipped'])
        this.#checks.set({ check, status: each }, Number(each === status));
      this.#durations.set({ check }, durationMs / 1_000);
    }
    this.#info.reset();
    const { runsc = '', platform = '', containerd = '', kernel = '' } = facts;
    this.#info.set({ runsc, platform, containerd, kernel }, 1);
    const old = this.#last?.verdict;
    if (old !== undefined && (old.status !== verdict.status || old.reason !== verdict.reason))
      this.#transitions.inc({ reason: verdict.reason });
    this.#last = report;
  }

  count({ proof, provenAt, findings }: Report): void {
    this.#traces = hasTraces(findings) ?? this.#traces;
    this.#showExpected();
    if (proof === this.#counted) return; // it stands since an earlier look
    this.#counted = proof;
    this.#probes.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#lastBoot.set(proof.bootMs / 1_000);
    this.#proven.set(Date.parse(provenAt ?? '') / 1_000);
  }

  /** Notes whether the Node says that gVisor was ever proven on it. */
  readonly noteProvenOnce = (provenOnce: boolean): void => {
    this.#provenOnce = provenOnce;
    this.#showExpected();
  };

  #showExpected(): void {
    if (this.#expectGvisor || this.#provenOnce || this.#traces) this.#expected.set(1);
    else if (this.#provenOnce === false && this.#traces === false) this.#expected.set(0);
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

  /** The text of /metrics and its content type. */
  async text(): Promise<{ readonly body: string; readonly type: string }> {
    const { registry } = this.#series;
    return { body: await registry.metrics(), type: registry.contentType };
  }
}
