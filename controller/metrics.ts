import { Registry } from 'prom-client';
import { createCounters, createGauges, registerProcessMetrics } from '../lib/base/series.ts';
import { VERSION } from '../lib/base/version.ts';
import { BREAKER_REASONS, type BreakerReason } from '../lib/fleet/alarms.ts';
import { GUARDS, type GuardState } from '../lib/fleet/guards.ts';
import { EGRESS_STATES, type FleetView } from '../lib/fleet/view.ts';
import type { CountRequest } from '../lib/kube/client.ts';

const STATUS = { proven: 'True', not: 'False', unknown: 'Unknown', none: '' } as const;

/** Beside `process_*`. */
const GAUGES = {
  gvisor_ready_fleet_watches_up: ['Whether all watches of the API server are up.'],
  gvisor_ready_fleet_nodes: [
    'Nodes by status and reason of the condition GVisorReady, or of the report that refutes it.',
    'status',
    'reason',
  ],
  gvisor_ready_fleet_node_labelled: ['Whether the label `ready` of a node is "true".', 'node'],
  gvisor_ready_fleet_label_without_agent: [
    'A node that is Ready and labelled, and on which no agent is Ready.',
    'node',
  ],
  gvisor_ready_fleet_agents_desired: ['Agents that the DaemonSet wants.'],
  gvisor_ready_fleet_agents_missing: ['Desired agents that are not Ready.'],
  gvisor_ready_fleet_oldest_proof_timestamp_seconds: ['The oldest last proof of a proven node, Unix time.'],
  gvisor_ready_fleet_releases: ['Nodes by release of gVisor, containerd and agent.', 'component', 'release'],
  gvisor_ready_fleet_circuit_breaker_open: [
    'Whether this reason pauses withdrawals: all, and RollingOut those of agents that are being replaced.',
    'reason',
  ],
  gvisor_ready_fleet_paused_withdrawals: [
    'Nodes whose label would be withdrawn while the circuit breaker is open.',
  ],
  gvisor_ready_fleet_guard_missing: [
    'Whether an admission policy that must be in force is not, or lets through what that of the manifests refuses, or a RuntimeClass is gone or sends pods to unproven nodes.',
    'guard',
  ],
  gvisor_ready_fleet_guards_read: ['Whether the guards could be read at the last try.'],
  gvisor_ready_fleet_requirements_lifted: [
    'Namespaces that required gVisor within a day, and have no label that says so any more.',
  ],
  gvisor_ready_fleet_gvisor_required: ['Whether a namespace requires gVisor.'],
  gvisor_ready_fleet_report_interval_seconds: [
    'How often the report of a Ready agent is read though nothing says that it differs.',
  ],
  gvisor_ready_fleet_watch_silence_seconds: [
    'For how long the most silent watch has shown nothing, in whole minutes: two are a watch that lags or hangs.',
  ],
  gvisor_ready_fleet_decision_delay_seconds: [
    'How late decisions were at the worst in the last two minutes: more than a second is a lack of processor time.',
  ],
  gvisor_ready_fleet_egress_nodes: [
    'Proven nodes, and those that are open, by what the canary of egress shows: closed, open or unknown.',
    'state',
  ],
  gvisor_ready_fleet_egress_open_seconds: [
    'How long a forbidden address was open after the start of the last sandbox; +Inf if it is open now.',
    'node',
    'target',
  ],
  gvisor_ready_fleet_failed_writes: ['Nodes whose latest write by the controller failed.'],
  gvisor_ready_fleet_build_info: ['Version of the fleet controller.', 'version'],
} as const;
const COUNTERS = {
  gvisor_ready_fleet_withdrawals_total: ['Withdrawals, each of the labels of one node.'],
  gvisor_ready_fleet_api_requests_total: [
    'Requests to the API server by verb and code (`<error>` without a response).',
    'verb',
    'code',
  ],
} as const;

export class FleetMetrics {
  readonly #registry = new Registry();
  readonly #gauges = createGauges(this.#registry, GAUGES);
  readonly #counters = createCounters(this.#registry, COUNTERS);

  constructor() {
    registerProcessMetrics(this.#registry);
  }

  readonly countRequest: CountRequest = (verb, code) => {
    this.#counters.gvisor_ready_fleet_api_requests_total.inc({ verb, code: String(code) });
  };

  countWithdrawal(): void {
    this.#counters.gvisor_ready_fleet_withdrawals_total.inc();
  }

  async text(view: FleetView): Promise<{ readonly body: string; readonly type: string }> {
    const gauges = this.#gauges;
    for (const gauge of Object.values(gauges)) gauge.reset();
    gauges.gvisor_ready_fleet_build_info.set({ version: VERSION }, 1);
    gauges.gvisor_ready_fleet_watches_up.set(Number(view.upToDate));
    let oldestMs = Number.POSITIVE_INFINITY;
    if (view.nodes.some(({ egress }) => egress !== undefined))
      for (const state of EGRESS_STATES) gauges.gvisor_ready_fleet_egress_nodes.set({ state }, 0);
    for (const { name, state, reason, label, provenAt, egress } of view.nodes) {
      if (egress !== undefined) gauges.gvisor_ready_fleet_egress_nodes.inc({ state: egress.state });
      for (const { name: target, ms = Number.POSITIVE_INFINITY } of egress?.targets ?? [])
        gauges.gvisor_ready_fleet_egress_open_seconds.set({ node: name, target }, ms / 1_000);
      gauges.gvisor_ready_fleet_nodes.inc({ status: STATUS[state], reason });
      gauges.gvisor_ready_fleet_node_labelled.set({ node: name }, Number(label === 'true'));
      if (state === 'proven' && provenAt !== '') oldestMs = Math.min(oldestMs, Date.parse(provenAt));
    }
    if (oldestMs < Number.POSITIVE_INFINITY)
      gauges.gvisor_ready_fleet_oldest_proof_timestamp_seconds.set(oldestMs / 1_000);
    for (const node of view.withoutAgent) gauges.gvisor_ready_fleet_label_without_agent.set({ node }, 1);
    gauges.gvisor_ready_fleet_agents_desired.set(view.agents.desired);
    gauges.gvisor_ready_fleet_agents_missing.set(Math.max(view.agents.desired - view.agents.ready, 0));
    for (const [component, release] of view.nodes.flatMap(releasesOf))
      if (release !== '') gauges.gvisor_ready_fleet_releases.inc({ component, release });
    for (const reason of Object.keys(BREAKER_REASONS) as BreakerReason[])
      gauges.gvisor_ready_fleet_circuit_breaker_open.set({ reason }, Number(view.breaker.includes(reason)));
    gauges.gvisor_ready_fleet_circuit_breaker_open.set({ reason: 'RollingOut' }, Number(view.rolling));
    gauges.gvisor_ready_fleet_paused_withdrawals.set(view.paused.length);
    if (view.guards !== undefined) this.#setGuards(view.guards);
    gauges.gvisor_ready_fleet_failed_writes.set(view.cannotWrite.length);
    gauges.gvisor_ready_fleet_report_interval_seconds.set(view.reportIntervalSeconds);
    gauges.gvisor_ready_fleet_decision_delay_seconds.set(view.lateSeconds);
    gauges.gvisor_ready_fleet_watch_silence_seconds.set(view.silentSeconds);
    return { body: await this.#registry.metrics(), type: this.#registry.contentType };
  }

  /** Without a series until the guards are read: an unknown value is not zero. */
  #setGuards({ isRequired, missing, classes = [], lifted = [], problem }: GuardState): void {
    const gauges = this.#gauges;
    gauges.gvisor_ready_fleet_guards_read.set(Number(problem === undefined));
    if (problem === undefined)
      for (const guard of [...Object.keys(GUARDS), ...classes])
        gauges.gvisor_ready_fleet_guard_missing.set({ guard }, 0);
    for (const { guard } of missing) gauges.gvisor_ready_fleet_guard_missing.set({ guard }, 1);
    gauges.gvisor_ready_fleet_gvisor_required.set(Number(isRequired));
    gauges.gvisor_ready_fleet_requirements_lifted.set(lifted.length);
  }
}

function releasesOf({ gvisor, containerd, version }: FleetView['nodes'][number]) {
  return Object.entries({ gvisor, containerd, agent: version });
}
