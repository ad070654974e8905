import { Histogram, Registry } from 'prom-client';
import type { Publisher, Report } from '../agent.ts';
import { expectsGvisor, hasTraces } from '../checks/expected.ts';
import { isOpen, type ObservedPods } from '../pods/pod.ts';
import { REASONS } from '../reasons.ts';
import { type ScannedSandboxes, STALE_MS } from '../sandboxes/monitor.ts';
import { HEADLINES, PROOF_TONES } from '../text/format.ts';
import { createCounters, createGauges, createProcessMetrics } from './series.ts';

const GAUGES = {
  gvisor_node_status: ['Published verdict of this node, 1 for the status in force.', 'status'],
  gvisor_node_reason: ['Reason code of the published verdict.', 'reason'],
  gvisor_check_status: ['Result of each check: 1, with its status.', 'check', 'status'],
  gvisor_check_duration_seconds: ['Duration of each check in the last evaluation.', 'check'],
  gvisor_last_proof_timestamp_seconds: ['When a sandbox was last proven to run in gVisor, Unix time.'],
  gvisor_proof_interval_seconds: ['Time between proofs when nothing changes.'],
  gvisor_node_info: ['Releases on this node.', 'runsc', 'platform', 'containerd', 'kernel'],
  gvisor_probe_orphans: ['Sandboxes of earlier probes that containerd cannot remove.'],
  gvisor_unwatched_directories: [
    'Directories that cannot be watched and are polled, so that a fault in them is seen some seconds later.',
  ],
  gvisor_last_boot_seconds: ['Duration of the last boot of a sandbox, from the request until it was ready.'],
  gvisor_node_expected: [
    'Whether this node should run gVisor: it was once proven here, a part of it is installed here, or EXPECT_GVISOR says so.',
  ],
  gvisor_sandbox_problems: [
    'Sandboxes that hang, remain or would not survive a restart of containerd.',
    'reason',
  ],
  gvisor_containerd_restart_safe: [
    'Whether a restart of containerd would leave all pods as they are; absent if unknown.',
  ],
  gvisor_sandboxes_last_scan_timestamp_seconds: [
    'When the sandboxes of this node were last scanned, Unix time.',
  ],
  gvisor_build_info: ["The agent's version.", 'version'],
  gvisor_time_seconds: [
    "The node's clock at the scrape, Unix time, to compute the age of the other timestamps.",
  ],
} as const;
const COUNTERS = {
  gvisor_probes_total: ['Probe sandboxes by outcome.', 'outcome'],
  gvisor_transitions_total: ['Changes of the published verdict by new reason.', 'reason'],
  gvisor_api_requests_total: ['Requests to the API server by verb and code.', 'verb', 'code'],
} as const;

/** The agent's metrics, registered in a registry of their own. */
export class Metrics implements Publisher {
  readonly #registry = new Registry();
  readonly #gauges = createGauges(this.#registry, GAUGES);
  readonly #counters = createCounters(this.#registry, COUNTERS);
  readonly #updateProcess = createProcessMetrics(this.#registry);
  readonly pods = new PodMetrics(this.#registry);
  readonly #boot = new Histogram({
    name: 'gvisor_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 40, 80, 160],
    registers: [this.#registry],
  });
  readonly #expectGvisor: boolean;
  /** Whether gVisor was ever proven here; undefined before the Node was read. */
  #provenOnce: boolean | undefined;
  /** The last known result of {@link hasTraces}. */
  #traces: boolean | undefined;
  #published: Report | undefined;
  #counted: Report['proof'] | undefined;
  /** When the sandboxes were scanned, wall clock. */
  #scannedMs = 0;

  /** `expectGvisor`: whether gVisor is expected on every node. */
  constructor(version: string, proofIntervalMs = 0, expectGvisor = false) {
    this.#expectGvisor = expectGvisor;
    this.#gauges.gvisor_proof_interval_seconds.set(proofIntervalMs / 1_000);
    this.#gauges.gvisor_build_info.set({ version }, 1);
    for (const outcome of Object.keys(PROOF_TONES)) this.#counters.gvisor_probes_total.inc({ outcome }, 0);
    for (const reason of Object.keys(REASONS)) this.#counters.gvisor_transitions_total.inc({ reason }, 0);
    // Absent until known.
    this.#gauges.gvisor_last_boot_seconds.remove();
    this.#gauges.gvisor_node_expected.remove();
    this.#gauges.gvisor_containerd_restart_safe.remove();
    this.#gauges.gvisor_sandboxes_last_scan_timestamp_seconds.remove();
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
    const old = this.#published?.verdict;
    if (old !== undefined && (old.status !== verdict.status || old.reason !== verdict.reason))
      this.#counters.gvisor_transitions_total.inc({ reason: verdict.reason });
    this.#published = report;
  }

  count({ proof, provenAt, findings }: Report): void {
    this.#traces = hasTraces(findings) ?? this.#traces;
    this.#updateExpected();
    if (proof === this.#counted) return; // a cached proof
    this.#counted = proof;
    this.#counters.gvisor_probes_total.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#gauges.gvisor_last_boot_seconds.set(proof.bootMs / 1_000);
    this.#gauges.gvisor_last_proof_timestamp_seconds.set(Date.parse(provenAt ?? '') / 1_000);
  }

  /** Sets whether the Node records an earlier proof. */
  readonly noteProvenOnce = (provenOnce: boolean): void => {
    this.#provenOnce = provenOnce;
    this.#updateExpected();
  };

  #updateExpected(): void {
    const [provenOnce, traces] = [this.#provenOnce, this.#traces];
    const expected = expectsGvisor({ always: this.#expectGvisor, provenOnce, traces });
    if (expected !== undefined) this.#gauges.gvisor_node_expected.set(Number(expected));
  }

  readonly publishSandboxes = ({ atMs, problems, restart }: ScannedSandboxes): void => {
    this.#gauges.gvisor_sandbox_problems.reset();
    for (const { reason } of problems) this.#gauges.gvisor_sandbox_problems.inc({ reason });
    this.#gauges.gvisor_containerd_restart_safe.remove();
    if (restart.state !== 'unknown')
      this.#gauges.gvisor_containerd_restart_safe.set(Number(restart.state === 'safe'));
    this.#gauges.gvisor_sandboxes_last_scan_timestamp_seconds.set(atMs / 1_000);
    this.#scannedMs = atMs;
  };

  readonly publishUnwatched = (directories: number): void => {
    this.#gauges.gvisor_unwatched_directories.set(directories);
  };

  readonly publishOrphans = (orphans: number): void => {
    this.#gauges.gvisor_probe_orphans.set(orphans);
  };

  readonly countRequest = (verb: string, code: number): void => {
    this.#counters.gvisor_api_requests_total.inc({ verb, code: String(code) });
  };

  /** The body of /metrics and its content type. */
  async text(): Promise<{ readonly body: string; readonly type: string }> {
    this.#updateProcess();
    if (Date.now() - this.#scannedMs > STALE_MS) {
      this.#gauges.gvisor_sandbox_problems.reset();
      this.#gauges.gvisor_containerd_restart_safe.remove();
    }
    this.#gauges.gvisor_time_seconds.set(Date.now() / 1_000);
    return { body: await this.#registry.metrics(), type: this.#registry.contentType };
  }
}

const POD_GAUGES = {
  gvisor_pods: [
    'Running pods by their CRI handler, and by whether they really run in gVisor.',
    'handler',
    'sandboxed',
  ],
  gvisor_unsandboxed_pods: [
    'Running pods outside gVisor, or in one with a way out to the host, in namespaces labelled require-gvisor=true.',
  ],
  gvisor_unknown_pods: ['Running pods in namespaces labelled require-gvisor=true whose runtime is unknown.'],
  gvisor_unlimited_pods: [
    "Running pods in gVisor whose sandbox is outside the kubelet's cgroup for it, so that no limit holds.",
  ],
  gvisor_weakened_pods: [
    "Running pods in gVisor whose sandbox is weaker than that of the node's probe, by flags or annotations.",
  ],
  gvisor_pods_last_seen_timestamp_seconds: ['When the pods of this node were last read, Unix time.'],
  gvisor_namespaces_last_update_timestamp_seconds: [
    'When the API server last reported the namespaces labelled require-gvisor=true, Unix time.',
  ],
} as const;

/** Metrics of this node's pods. */
class PodMetrics {
  readonly #gauges;

  constructor(registry: Registry) {
    this.#gauges = createGauges(registry, POD_GAUGES);
    // Absent until pods were read, or namespaces are watched.
    this.#gauges.gvisor_unsandboxed_pods.remove();
    this.#gauges.gvisor_namespaces_last_update_timestamp_seconds.remove();
  }

  /** Shows that namespaces are watched, and have not been listed yet. */
  watchNamespaces(): void {
    this.setNamespacesUpdated(0);
  }

  /** Sets the time of the last update of namespaces, wall clock. */
  setNamespacesUpdated(atMs: number): void {
    this.#gauges.gvisor_namespaces_last_update_timestamp_seconds.set(atMs / 1_000);
  }

  /** Shows the pods of this node; `required` are the namespaces that require gVisor. */
  publish({ pods, unsandboxed, weakened, atMs }: ObservedPods, required: ReadonlySet<string>): void {
    this.#gauges.gvisor_pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      this.#gauges.gvisor_pods.inc({ handler, sandboxed: String(sandboxed) });
    const open = weakened.filter((pod) => isOpen(pod) && required.has(pod.namespace));
    this.#gauges.gvisor_unsandboxed_pods.set(unsandboxed.length + open.length);
    const unknown = pods.filter(
      ({ namespace, sandboxed }) => sandboxed === undefined && required.has(namespace),
    );
    this.#gauges.gvisor_unknown_pods.set(unknown.length);
    this.#gauges.gvisor_unlimited_pods.set(pods.filter(({ limited }) => limited === false).length);
    this.#gauges.gvisor_weakened_pods.set(weakened.length);
    this.#gauges.gvisor_pods_last_seen_timestamp_seconds.set(atMs / 1_000);
  }
}
