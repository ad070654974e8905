import { Histogram, Registry } from 'prom-client';
import { createCounters, createGauges, registerProcessMetrics } from '../../lib/base/series.ts';
import type { CountRequest } from '../../lib/kube/client.ts';
import { isOpen, type ObservedPods } from '../../lib/pods/pod.ts';
import { HEADLINES, PROOF_TONES } from '../../lib/report/format.ts';
import type { Report } from '../../lib/report/report.ts';
import type { RestartSafety } from '../../lib/sandboxes/problem.ts';
import { lossAtRestart } from '../pods/restart.ts';
import { type ScannedSandboxes, STALE_MS } from '../pods/sandbox-monitor.ts';

/** Help text and labels. */
const GAUGES = {
  gvisor_ready_node_status: ['The published verdict: 1 for its status.', 'status'],
  gvisor_ready_node_reason: ['Reason of the published verdict.', 'reason'],
  gvisor_ready_check_status: ['Result of each check.', 'check', 'status'],
  gvisor_ready_last_proof_timestamp_seconds: ['Time of the last proof, Unix time.'],
  gvisor_ready_proof_interval_seconds: ['Interval of proofs.'],
  gvisor_ready_node_info: ['Releases on this node.', 'runsc', 'platform', 'containerd', 'kernel'],
  gvisor_ready_probe_orphans: ['Sandboxes of earlier probes that containerd cannot remove.'],
  gvisor_ready_unwatched_directories: ['Directories that are polled, because they cannot be watched.'],
  gvisor_ready_sandbox_problems: [
    'Sandboxes that hang, remain or would not survive a restart of containerd.',
    'reason',
  ],
  gvisor_ready_build_info: ["The agent's version.", 'version'],
  gvisor_ready_time_seconds: ["The node's clock at the scrape, Unix time."],
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
  gvisor_ready_pods: [
    'Running pods by CRI handler, and by whether they run in gVisor.',
    'handler',
    'sandboxed',
  ],
  gvisor_ready_unknown_pods: ['Pods of an unknown runtime where gvisor-ready.dev/require=true.'],
  gvisor_ready_unlimited_pods: ["gVisor pods outside the kubelet's cgroups, so that no limit holds."],
  gvisor_ready_weakened_pods: [
    "gVisor pods whose sandbox is weaker than the probe's, by flags or annotations.",
  ],
  gvisor_ready_pods_last_seen_timestamp_seconds: ['When pods were last read, Unix time.'],
} as const;

/** Without a series until the value is known. */
const ABSENT_UNTIL_KNOWN = {
  gvisor_ready_last_boot_seconds: ['Duration of the last boot of a sandbox.'],
  gvisor_ready_node_expected: [
    'Whether this node should run gVisor: once proven, partly installed, or EXPECT_GVISOR.',
  ],
  gvisor_ready_gpu_driver_supported: [
    'Whether gVisor supports the NVIDIA driver; absent without a driver, or if that is not known.',
  ],
  gvisor_ready_installation_failed: [
    "Whether the installer's last work failed or was interrupted; absent where it was never used.",
  ],
  gvisor_ready_containerd_restart_safe: [
    'Whether a restart of containerd would leave all pods; absent if unknown.',
  ],
  gvisor_ready_sandboxes_last_scan_timestamp_seconds: ['When sandboxes were last scanned, Unix time.'],
  gvisor_ready_unsandboxed_pods: [
    'Pods outside gVisor, or with a way out of it, whose namespace or handler requires gVisor.',
  ],
  gvisor_ready_namespaces_last_update_timestamp_seconds: [
    'When the API server last reported the labelled namespaces, Unix time.',
  ],
} as const;

const COUNTERS = {
  gvisor_ready_probes_total: ['Probe sandboxes by outcome.', 'outcome'],
  gvisor_ready_transitions_total: ['Changes of the published verdict by new reason.', 'reason'],
  gvisor_ready_api_requests_total: ['Requests to the API server.', 'verb', 'code'],
} as const;

export class Metrics {
  readonly #registry = new Registry();
  readonly #gauges = createGauges(this.#registry, GAUGES);
  readonly #known = createGauges(this.#registry, ABSENT_UNTIL_KNOWN);
  readonly #counters = createCounters(this.#registry, COUNTERS);
  readonly #boot = new Histogram({
    name: 'gvisor_ready_sandbox_boot_seconds',
    help: 'Time from the request for a sandbox until it is ready.',
    buckets: [0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 15, 60],
    registers: [this.#registry],
  });
  readonly #handler: string;
  readonly #published = new Map<string, Report>();
  #counted: Report['proof'] | undefined;
  #scannedMs = 0;
  #restart: RestartSafety['state'] = 'unknown';

  /** `handler`: the main one; the others have metrics of their own names, so that no sum counts them. */
  constructor(version: string, handler: string, proofIntervalMs = 0) {
    this.#handler = handler;
    registerProcessMetrics(this.#registry);
    this.#gauges.gvisor_ready_proof_interval_seconds.set(proofIntervalMs / 1_000);
    this.#gauges.gvisor_ready_build_info.set({ version }, 1);
    for (const outcome of Object.keys(PROOF_TONES))
      this.#counters.gvisor_ready_probes_total.inc({ outcome }, 0);
    for (const gauge of Object.values(this.#known)) gauge.remove();
  }

  publish(report: Report): void {
    const before = this.#published.get(report.handler);
    this.#published.set(report.handler, report);
    if (report.handler === this.#handler) this.#publishMain(report, before);
    else this.#publishAdditional(report, before);
  }

  #publishMain({ verdict, findings, facts, installation }: Report, before: Report | undefined): void {
    const gauges = this.#gauges;
    for (const status of Object.keys(HEADLINES))
      gauges.gvisor_ready_node_status.set({ status }, Number(verdict.status === status));
    gauges.gvisor_ready_node_reason.reset();
    gauges.gvisor_ready_node_reason.set({ reason: verdict.reason }, 1);
    gauges.gvisor_ready_check_status.reset();
    for (const { check, status } of findings) gauges.gvisor_ready_check_status.set({ check, status }, 1);
    this.#publishInstallation(installation);
    gauges.gvisor_ready_node_info.reset();
    const { runsc = '', platform = '', containerd = '', kernel = '' } = facts;
    gauges.gvisor_ready_node_info.set({ runsc, platform, containerd, kernel }, 1);
    this.#known.gvisor_ready_gpu_driver_supported.remove();
    if (facts.gpu !== undefined)
      this.#known.gvisor_ready_gpu_driver_supported.set(Number(facts.gpu === 'true'));
    const old = before?.verdict;
    if (old !== undefined && (old.status !== verdict.status || old.reason !== verdict.reason))
      this.#counters.gvisor_ready_transitions_total.inc({ reason: verdict.reason });
  }

  #publishInstallation(installation: Report['installation']): void {
    this.#known.gvisor_ready_installation_failed.remove();
    if (installation === undefined) return;
    const { pending, failure } = installation;
    const failed = pending === undefined ? failure !== undefined : pending.interrupted;
    this.#known.gvisor_ready_installation_failed.set(Number(failed));
  }

  #publishAdditional({ handler, verdict, proof, provenAt }: Report, before: Report | undefined): void {
    const gauges = this.#gauges;
    for (const status of Object.keys(HEADLINES))
      gauges.gvisor_ready_handler_status.set({ handler, status }, Number(verdict.status === status));
    if (before !== undefined)
      gauges.gvisor_ready_handler_reason.remove({ handler, reason: before.verdict.reason });
    gauges.gvisor_ready_handler_reason.set({ handler, reason: verdict.reason }, 1);
    if (proof.kind !== 'proven') return;
    gauges.gvisor_ready_handler_last_boot_seconds.set({ handler }, proof.bootMs / 1_000);
    gauges.gvisor_ready_handler_last_proof_timestamp_seconds.set({ handler }, secondsOf(provenAt));
  }

  count({ handler, proof, provenAt, expected }: Report): void {
    const isMain = handler === this.#handler;
    if (expected !== undefined && isMain) this.#known.gvisor_ready_node_expected.set(Number(expected));
    if (expected !== undefined && !isMain)
      this.#gauges.gvisor_ready_handler_expected.set({ handler }, Number(expected));
    if (!isMain || proof === this.#counted) return; // a cached proof
    this.#counted = proof;
    this.#counters.gvisor_ready_probes_total.inc({ outcome: proof.kind });
    if (proof.kind !== 'proven') return;
    this.#boot.observe(proof.bootMs / 1_000);
    this.#known.gvisor_ready_last_boot_seconds.set(proof.bootMs / 1_000);
    this.#gauges.gvisor_ready_last_proof_timestamp_seconds.set(secondsOf(provenAt));
  }

  publishPods({ pods, unsandboxed, weakened, atMs }: ObservedPods, required: ReadonlySet<string>): void {
    const gauges = this.#gauges;
    gauges.gvisor_ready_pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      gauges.gvisor_ready_pods.inc({ handler, sandboxed: String(sandboxed) });
    const open = weakened.filter((pod) => isOpen(pod) && required.has(pod.namespace));
    this.#known.gvisor_ready_unsandboxed_pods.set(unsandboxed.length + open.length);
    const unknown = pods.filter(
      ({ namespace, sandboxed }) => sandboxed === undefined && required.has(namespace),
    );
    gauges.gvisor_ready_unknown_pods.set(unknown.length);
    gauges.gvisor_ready_unlimited_pods.set(pods.filter(({ limited }) => limited === false).length);
    gauges.gvisor_ready_weakened_pods.set(weakened.length);
    gauges.gvisor_ready_pods_last_seen_timestamp_seconds.set(atMs / 1_000);
  }

  /** 0 while namespaces are watched and not listed yet. */
  publishNamespaces(updatedMs: number): void {
    this.#known.gvisor_ready_namespaces_last_update_timestamp_seconds.set(updatedMs / 1_000);
  }

  readonly publishSandboxes = ({ atMs, problems, restart }: ScannedSandboxes): void => {
    this.#gauges.gvisor_ready_sandbox_problems.reset();
    for (const { reason } of problems) this.#gauges.gvisor_ready_sandbox_problems.inc({ reason });
    this.#restart = restart.state;
    this.#known.gvisor_ready_sandboxes_last_scan_timestamp_seconds.set(atMs / 1_000);
    this.#scannedMs = atMs;
  };

  publishUnwatched(directories: number): void {
    this.#gauges.gvisor_ready_unwatched_directories.set(directories);
  }

  publishOrphans(orphans: number): void {
    this.#gauges.gvisor_ready_probe_orphans.set(orphans);
  }

  readonly countRequest: CountRequest = (verb, code) => {
    this.#counters.gvisor_ready_api_requests_total.inc({ verb, code: String(code) });
  };

  async text(): Promise<{ readonly body: string; readonly type: string }> {
    const isStale = Date.now() - this.#scannedMs > STALE_MS;
    if (isStale) this.#gauges.gvisor_ready_sandbox_problems.reset();
    this.#known.gvisor_ready_containerd_restart_safe.remove();
    const reports = [...this.#published.values()];
    const loses = reports.some(({ findings }) => lossAtRestart(findings) !== undefined);
    if (!isStale && (loses || this.#restart !== 'unknown'))
      this.#known.gvisor_ready_containerd_restart_safe.set(Number(this.#restart === 'safe' && !loses));
    this.#gauges.gvisor_ready_time_seconds.set(Date.now() / 1_000);
    return { body: await this.#registry.metrics(), type: this.#registry.contentType };
  }
}

function secondsOf(time = ''): number {
  return Date.parse(time) / 1_000;
}
