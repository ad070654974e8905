import { Histogram, Registry } from 'prom-client';
import { createCounters, createGauges, createProcessMetrics } from '../../lib/base/series.ts';
import type { CountRequest } from '../../lib/kube/client.ts';
import { isOpen, type ObservedPods } from '../../lib/node/pods/pod.ts';
import { HEADLINES, PROOF_TONES } from '../../lib/report/format.ts';
import type { Report } from '../../lib/report/report.ts';
import type { Publisher } from '../agent.ts';
import { type ScannedSandboxes, STALE_MS } from '../pods/sandbox-monitor.ts';

const GAUGES = {
  gvisor_ready_node_status: ['The published verdict: 1 for its status.', 'status'],
  gvisor_ready_node_reason: ['Reason of the published verdict.', 'reason'],
  gvisor_ready_check_status: ['Result of each check.', 'check', 'status'],
  gvisor_ready_last_proof_timestamp_seconds: ['Time of the last proof, Unix time.'],
  gvisor_ready_proof_interval_seconds: ['Interval of proofs.'],
  gvisor_ready_node_info: ['Releases on this node.', 'runsc', 'platform', 'containerd', 'kernel'],
  gvisor_ready_gpu_driver_supported: [
    'Whether gVisor supports the NVIDIA driver; absent without a driver, or if that is not known.',
  ],
  gvisor_ready_probe_orphans: ['Sandboxes of earlier probes that containerd cannot remove.'],
  gvisor_ready_unwatched_directories: ['Directories that are polled, because they cannot be watched.'],
  gvisor_ready_last_boot_seconds: ['Duration of the last boot of a sandbox.'],
  gvisor_ready_node_expected: [
    'Whether this node should run gVisor: once proven, partly installed, or EXPECT_GVISOR.',
  ],
  gvisor_ready_installation_failed: [
    "Whether the installer's last work failed or was interrupted; absent where it was never used.",
  ],
  gvisor_ready_sandbox_problems: [
    'Sandboxes that hang, remain or would not survive a restart of containerd.',
    'reason',
  ],
  gvisor_ready_containerd_restart_safe: [
    'Whether a restart of containerd would leave all pods; absent if unknown.',
  ],
  gvisor_ready_sandboxes_last_scan_timestamp_seconds: ['When sandboxes were last scanned, Unix time.'],
  gvisor_ready_build_info: ["The agent's version.", 'version'],
  gvisor_ready_time_seconds: ["The node's clock at the scrape, Unix time."],
} as const;
const COUNTERS = {
  gvisor_ready_probes_total: ['Probe sandboxes by outcome.', 'outcome'],
  gvisor_ready_transitions_total: ['Changes of the published verdict by new reason.', 'reason'],
  gvisor_ready_api_requests_total: ['Requests to the API server.', 'verb', 'code'],
} as const;

export class Metrics implements Publisher {
  readonly #registry = new Registry();
  readonly #gauges = createGauges(this.#registry, GAUGES);
  readonly #counters = createCounters(this.#registry, COUNTERS);
  readonly #updateProcess = createProcessMetrics(this.#registry);
  readonly pods = new PodMetrics(this.#registry);
  readonly #handlers = new HandlerMetrics(this.#registry);
  readonly #boot = new Histogram({
    name: 'gvisor_ready_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 15, 60],
    registers: [this.#registry],
  });
  readonly #handler: string;
  #published: Report | undefined;
  #counted: Report['proof'] | undefined;
  #scannedMs = 0;

  /** `handler`: the main one; the others have metrics of their own names, so that no sum counts them. */
  constructor(version: string, handler: string, proofIntervalMs = 0) {
    this.#handler = handler;
    this.#gauges.gvisor_ready_proof_interval_seconds.set(proofIntervalMs / 1_000);
    this.#gauges.gvisor_ready_build_info.set({ version }, 1);
    for (const outcome of Object.keys(PROOF_TONES))
      this.#counters.gvisor_ready_probes_total.inc({ outcome }, 0);
    // Absent until known.
    this.#gauges.gvisor_ready_last_boot_seconds.remove();
    this.#gauges.gvisor_ready_node_expected.remove();
    this.#gauges.gvisor_ready_gpu_driver_supported.remove();
    this.#gauges.gvisor_ready_installation_failed.remove();
    this.#gauges.gvisor_ready_containerd_restart_safe.remove();
    this.#gauges.gvisor_ready_sandboxes_last_scan_timestamp_seconds.remove();
  }

  publish(report: Report): void {
    const { handler, verdict, findings, facts } = report;
    if (handler !== this.#handler) {
      this.#handlers.publish(report);
      return;
    }
    for (const status of Object.keys(HEADLINES))
      this.#gauges.gvisor_ready_node_status.set({ status }, Number(verdict.status === status));
    this.#gauges.gvisor_ready_node_reason.reset();
    this.#gauges.gvisor_ready_node_reason.set({ reason: verdict.reason }, 1);
    this.#gauges.gvisor_ready_check_status.reset();
    for (const { check, status } of findings)
      this.#gauges.gvisor_ready_check_status.set({ check, status }, 1);
    this.#publishInstallation(report);
    this.#gauges.gvisor_ready_node_info.reset();
    const { runsc = '', platform = '', containerd = '', kernel = '' } = facts;
    this.#gauges.gvisor_ready_node_info.set({ runsc, platform, containerd, kernel }, 1);
    this.#gauges.gvisor_ready_gpu_driver_supported.remove();
    if (facts.gpu !== undefined)
      this.#gauges.gvisor_ready_gpu_driver_supported.set(Number(facts.gpu === 'true'));
    const old = this.#published?.verdict;
    if (old !== undefined && (old.status !== verdict.status || old.reason !== verdict.reason))
      this.#counters.gvisor_ready_transitions_total.inc({ reason: verdict.reason });
    this.#published = report;
  }

  #publishInstallation({ installation }: Report): void {
    this.#gauges.gvisor_ready_installation_failed.remove();
    if (installation === undefined) return;
    const { pending, failure } = installation;
    const failed = pending === undefined ? failure !== undefined : pending.interrupted;
    this.#gauges.gvisor_ready_installation_failed.set(Number(failed));
  }

  count(report: Report): void {
    const { handler, proof, provenAt, expected } = report;
    if (handler !== this.#handler) {
      this.#handlers.count(report);
      return;
    }
    if (expected !== undefined) this.#gauges.gvisor_ready_node_expected.set(Number(expected));
    if (proof === this.#counted) return; // a cached proof
    this.#counted = proof;
    this.#counters.gvisor_ready_probes_total.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#gauges.gvisor_ready_last_boot_seconds.set(proof.bootMs / 1_000);
    this.#gauges.gvisor_ready_last_proof_timestamp_seconds.set(Date.parse(provenAt ?? '') / 1_000);
  }

  readonly publishSandboxes = ({ atMs, problems, restart }: ScannedSandboxes): void => {
    this.#gauges.gvisor_ready_sandbox_problems.reset();
    for (const { reason } of problems) this.#gauges.gvisor_ready_sandbox_problems.inc({ reason });
    this.#gauges.gvisor_ready_containerd_restart_safe.remove();
    if (restart.state !== 'unknown')
      this.#gauges.gvisor_ready_containerd_restart_safe.set(Number(restart.state === 'safe'));
    this.#gauges.gvisor_ready_sandboxes_last_scan_timestamp_seconds.set(atMs / 1_000);
    this.#scannedMs = atMs;
  };

  readonly publishUnwatched = (directories: number): void => {
    this.#gauges.gvisor_ready_unwatched_directories.set(directories);
  };

  readonly publishOrphans = (orphans: number): void => {
    this.#gauges.gvisor_ready_probe_orphans.set(orphans);
  };

  readonly countRequest: CountRequest = (verb, code) => {
    this.#counters.gvisor_ready_api_requests_total.inc({ verb, code: String(code) });
  };

  async text(): Promise<{ readonly body: string; readonly type: string }> {
    this.#updateProcess();
    if (Date.now() - this.#scannedMs > STALE_MS) {
      this.#gauges.gvisor_ready_sandbox_problems.reset();
      this.#gauges.gvisor_ready_containerd_restart_safe.remove();
    }
    this.#gauges.gvisor_ready_time_seconds.set(Date.now() / 1_000);
    return { body: await this.#registry.metrics(), type: this.#registry.contentType };
  }
}

const HANDLER_GAUGES = {
  gvisor_ready_handler_status: [
    'The published verdict on an additional handler: 1 for its status.',
    'handler',
    'status',
  ],
  gvisor_ready_handler_reason: [
    'Reason of the published verdict on an additional handler.',
    'handler',
    'reason',
  ],
  gvisor_ready_handler_expected: [
    'Whether this node should run an additional handler: once proven here, or known to containerd.',
    'handler',
  ],
  gvisor_ready_handler_last_proof_timestamp_seconds: [
    'Time of the last proof of an additional handler, Unix time.',
    'handler',
  ],
  gvisor_ready_handler_last_boot_seconds: [
    "Duration of the last boot of an additional handler's sandbox.",
    'handler',
  ],
} as const;

class HandlerMetrics {
  readonly #gauges;
  readonly #reasons = new Map<string, string>();

  constructor(registry: Registry) {
    this.#gauges = createGauges(registry, HANDLER_GAUGES);
  }

  count({ handler, expected }: Report): void {
    if (expected !== undefined) this.#gauges.gvisor_ready_handler_expected.set({ handler }, Number(expected));
  }

  publish({ handler, verdict, proof, provenAt }: Report): void {
    for (const status of Object.keys(HEADLINES))
      this.#gauges.gvisor_ready_handler_status.set({ handler, status }, Number(verdict.status === status));
    const { reason } = verdict;
    const old = this.#reasons.get(handler);
    if (old !== undefined) this.#gauges.gvisor_ready_handler_reason.remove({ handler, reason: old });
    this.#gauges.gvisor_ready_handler_reason.set({ handler, reason }, 1);
    this.#reasons.set(handler, reason);
    if (proof.kind !== 'proven') return;
    this.#gauges.gvisor_ready_handler_last_boot_seconds.set({ handler }, proof.bootMs / 1_000);
    const provenMs = Date.parse(provenAt ?? '');
    this.#gauges.gvisor_ready_handler_last_proof_timestamp_seconds.set({ handler }, provenMs / 1_000);
  }
}

const POD_GAUGES = {
  gvisor_ready_pods: [
    'Running pods by CRI handler, and by whether they run in gVisor.',
    'handler',
    'sandboxed',
  ],
  gvisor_ready_unsandboxed_pods: [
    'Pods outside gVisor, or with a way out of it, where gvisor-ready.dev/require=true.',
  ],
  gvisor_ready_unknown_pods: ['Pods of an unknown runtime where gvisor-ready.dev/require=true.'],
  gvisor_ready_unlimited_pods: ["gVisor pods outside the kubelet's cgroups, so that no limit holds."],
  gvisor_ready_weakened_pods: [
    "gVisor pods whose sandbox is weaker than the probe's, by flags or annotations.",
  ],
  gvisor_ready_pods_last_seen_timestamp_seconds: ['When pods were last read, Unix time.'],
  gvisor_ready_namespaces_last_update_timestamp_seconds: [
    'When the API server last reported the labelled namespaces, Unix time.',
  ],
} as const;

class PodMetrics {
  readonly #gauges;

  constructor(registry: Registry) {
    this.#gauges = createGauges(registry, POD_GAUGES);
    // Absent until pods were read, or namespaces are watched.
    this.#gauges.gvisor_ready_unsandboxed_pods.remove();
    this.#gauges.gvisor_ready_namespaces_last_update_timestamp_seconds.remove();
  }

  /** Namespaces are watched, and not listed yet. */
  watchNamespaces(): void {
    this.setNamespacesUpdated(0);
  }

  setNamespacesUpdated(atMs: number): void {
    this.#gauges.gvisor_ready_namespaces_last_update_timestamp_seconds.set(atMs / 1_000);
  }

  /** `required` are the namespaces that require gVisor. */
  publish({ pods, unsandboxed, weakened, atMs }: ObservedPods, required: ReadonlySet<string>): void {
    this.#gauges.gvisor_ready_pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      this.#gauges.gvisor_ready_pods.inc({ handler, sandboxed: String(sandboxed) });
    const open = weakened.filter((pod) => isOpen(pod) && required.has(pod.namespace));
    this.#gauges.gvisor_ready_unsandboxed_pods.set(unsandboxed.length + open.length);
    const unknown = pods.filter(
      ({ namespace, sandboxed }) => sandboxed === undefined && required.has(namespace),
    );
    this.#gauges.gvisor_ready_unknown_pods.set(unknown.length);
    this.#gauges.gvisor_ready_unlimited_pods.set(pods.filter(({ limited }) => limited === false).length);
    this.#gauges.gvisor_ready_weakened_pods.set(weakened.length);
    this.#gauges.gvisor_ready_pods_last_seen_timestamp_seconds.set(atMs / 1_000);
  }
}
