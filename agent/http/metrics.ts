import Histogram from 'prom-client/lib/histogram.js';
import Registry from 'prom-client/lib/registry.js';
import type { Finding } from '../finding.ts';
import { REASONS } from '../reasons.ts';
import type { Publisher, Report } from '../report.ts';
import { HEADLINES, PROOF_TONES } from '../text/format.ts';
import { PodMetrics } from './pod-metrics.ts';
import { processMetrics } from './process-metrics.ts';
import { countersOf, gaugesOf } from './series.ts';

/** What these checks say where they find nothing at all. */
const ABSENT = ['ShimNotFound', 'RunscNotFound'];

/**
 * Whether anything of gVisor is on a node: its handler in containerd's configuration or in the running containerd, the
 * shim, or runsc. Undefined where that could not be told, such as when containerd does not answer.
 */
export function hasTraces(findings: readonly Finding[]): boolean | undefined {
  const of = (check: string) => findings.find((finding) => finding.check === check);
  const there = [of('shim'), of('runsc')].some((finding) => isThere(finding));
  const [configured, loaded] = [of('handler-configured'), of('handler-loaded')];
  if (there || configured?.status === 'pass' || loaded?.status === 'pass') return true;
  if (configured?.status !== 'fail' || loaded?.status !== 'fail') return undefined;
  return configured.reason !== 'HandlerNotConfigured' || loaded.reason !== 'HandlerNotLoaded';
}

function isThere(finding: Finding | undefined): boolean {
  if (finding?.status === 'fail') return !ABSENT.includes(finding.reason);
  return finding?.status === 'pass';
}

/** What the agent tells, beside what its process and its pods do; all are named gvisor_*. */
const GAUGES = {
  gvisor_node_status: ['Published verdict of this node, 1 for the status in force.', 'status'],
  gvisor_node_reason: ['Reason code of the published verdict.', 'reason'],
  gvisor_check_status: ['Result of each check: 1, with its status.', 'check', 'status'],
  gvisor_check_duration_seconds: ['Duration of each check in the last look.', 'check'],
  gvisor_last_proof_timestamp_seconds: ['When a sandbox was last proven to run in gVisor, Unix time.'],
  gvisor_proof_interval_seconds: ['Time between proofs when nothing changes.'],
  gvisor_node_info: ['Releases on this node.', 'runsc', 'platform', 'containerd', 'kernel'],
  gvisor_probe_orphans: ['Sandboxes of earlier probes that containerd cannot remove.'],
  gvisor_unwatched_folders: [
    'Folders that cannot be watched, so that a fault in them is seen some seconds later.',
  ],
  gvisor_last_boot_seconds: ['How long the last sandbox took from the request until it was ready.'],
  gvisor_node_expected: [
    'Whether this node should run gVisor: it was once proven here, a part of it is installed here, or EXPECT_GVISOR says so.',
  ],
  gvisor_build_info: ["The agent's version.", 'version'],
  gvisor_time_seconds: [
    "The node's clock at the scrape, Unix time: the ages of the other times are told by it.",
  ],
} as const;
const COUNTERS = {
  gvisor_probes_total: ['Probe sandboxes by outcome.', 'outcome'],
  gvisor_transitions_total: ['Changes of the published verdict by new reason.', 'reason'],
  gvisor_api_requests_total: ['Requests to the API server by verb and code.', 'verb', 'code'],
} as const;

/** The agent's metrics. */
export class Metrics implements Publisher {
  readonly #registry = new Registry();
  readonly #gauges = gaugesOf(this.#registry, GAUGES);
  readonly #counters = countersOf(this.#registry, COUNTERS);
  /** The metrics of this node's pods. */
  readonly pods = new PodMetrics(this.#registry);
  readonly #boot = new Histogram({
    name: 'gvisor_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40, 80, 160],
    registers: [this.#registry],
  });
  readonly #expectGvisor: boolean;
  /** Whether gVisor was ever proven here, and whether anything of it is here, as far as that could be told. */
  #provenOnce: boolean | undefined;
  #traces: boolean | undefined;
  #last: Report | undefined;
  #counted: Report['proof'] | undefined;

  /** `expectGvisor`: whether gVisor is expected on every node. */
  constructor(version: string, proofIntervalMs = 0, expectGvisor = false) {
    this.#expectGvisor = expectGvisor;
    processMetrics(this.#registry);
    this.#gauges.gvisor_proof_interval_seconds.set(proofIntervalMs / 1_000);
    this.#gauges.gvisor_build_info.set({ version }, 1);
    for (const outcome of Object.keys(PROOF_TONES)) this.#counters.gvisor_probes_total.inc({ outcome }, 0);
    for (const reason of Object.keys(REASONS)) this.#counters.gvisor_transitions_total.inc({ reason }, 0);
    // Not known before something was told.
    this.#gauges.gvisor_last_boot_seconds.remove();
    this.#gauges.gvisor_node_expected.remove();
  }

  publish(report: Report): void {
    const { verdict, findings, facts } = report;
    for (const status of Object.keys(HEADLINES))
      this.#gauges.gvisor_node_status.set({ status }, Number(verdict.status === status));
    this.#gauges.gvisor_node_reason.reset();
    this.#gauges.gvisor_node_reason.set({ reason: verdict.reason }, 1);
    this.#gauges.gvisor_check_status.reset();
    for (const { check, status, durationMs } of findings) {
      this.#gauges.gvisor_check_status.set({ check, status }, 1);
      this.#gauges.gvisor_check_duration_seconds.set({ check }, durationMs / 1_000);
    }
    this.#gauges.gvisor_node_info.reset();
    const { runsc = '', platform = '', containerd = '', kernel = '' } = facts;
    this.#gauges.gvisor_node_info.set({ runsc, platform, containerd, kernel }, 1);
    const old = this.#last?.verdict;
    if (old !== undefined && (old.status !== verdict.status || old.reason !== verdict.reason))
      this.#counters.gvisor_transitions_total.inc({ reason: verdict.reason });
    this.#last = report;
  }

  count({ proof, provenAt, findings }: Report): void {
    this.#traces = hasTraces(findings) ?? this.#traces;
    this.#showExpected();
    if (proof === this.#counted) return; // it stands since an earlier look
    this.#counted = proof;
    this.#counters.gvisor_probes_total.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#gauges.gvisor_last_boot_seconds.set(proof.bootMs / 1_000);
    this.#gauges.gvisor_last_proof_timestamp_seconds.set(Date.parse(provenAt ?? '') / 1_000);
  }

  /** Notes whether the Node says that gVisor was ever proven on it. */
  readonly noteProvenOnce = (provenOnce: boolean): void => {
    this.#provenOnce = provenOnce;
    this.#showExpected();
  };

  #showExpected(): void {
    if (this.#expectGvisor || this.#provenOnce || this.#traces) this.#gauges.gvisor_node_expected.set(1);
    else if (this.#provenOnce === false && this.#traces === false) this.#gauges.gvisor_node_expected.set(0);
  }

  /** Shows how many folders cannot be watched. */
  readonly publishUnwatched = (folders: number): void => {
    this.#gauges.gvisor_unwatched_folders.set(folders);
  };

  /** Shows how many sandboxes of earlier probes are left. */
  readonly publishOrphans = (left: number): void => {
    this.#gauges.gvisor_probe_orphans.set(left);
  };

  /** Counts one request to the API server. */
  readonly countRequest = (verb: string, code: number): void => {
    this.#counters.gvisor_api_requests_total.inc({ verb, code: String(code) });
  };

  /** The text of /metrics and its content type. */
  async text(): Promise<{ readonly body: string; readonly type: string }> {
    this.#gauges.gvisor_time_seconds.set(Date.now() / 1_000);
    return { body: await this.#registry.metrics(), type: this.#registry.contentType };
  }
}
