import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { createSeries, registerProcessMetrics } from '../../lib/base/series.ts';
import type { CountRequest } from '../../lib/kube/client.ts';
import { isOpen, type ObservedPods } from '../../lib/node/pods/pod.ts';
import type { RestartSafety } from '../../lib/node/sandboxes/problem.ts';
import { HEADLINES, PROOF_TONES } from '../../lib/report/format.ts';
import type { Report } from '../../lib/report/report.ts';
import { lossAtRestart } from '../../lib/report/restart.ts';
import { type ScannedSandboxes, STALE_MS } from '../pods/sandbox-monitor.ts';
import SERIES from './series.json' with { type: 'json' };

export class Metrics {
  readonly #registry = new Registry();
  readonly #gauges = createSeries(this.#registry, Gauge, SERIES.gauges);
  readonly #known = createSeries(this.#registry, Gauge, SERIES.absentUntilKnown);
  readonly #counters = createSeries(this.#registry, Counter, SERIES.counters);
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
