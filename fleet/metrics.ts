import { Registry } from 'prom-client';
import { processMetrics } from '../agent/http/process-metrics.ts';
import { Series } from '../agent/http/series.ts';
import { BRAKE_REASONS, type BrakeReason } from './brake.ts';
import type { FleetView } from './view.ts';

const STATUS = { proven: 'True', not: 'False', unknown: 'Unknown', none: '' } as const;

/** The fleet's metrics, all named gvisor_fleet_* beside those of the process. */
export class FleetMetrics {
  readonly #series = new Series(new Registry());
  readonly #current = this.#series.gauge(
    'gvisor_fleet_current',
    'Whether all watches of the API server stand.',
    [],
  );
  readonly #nodes = this.#series.gauge(
    'gvisor_fleet_nodes',
    'Nodes by what the condition GVisorReady says.',
    ['status', 'reason'],
  );
  readonly #labelled = this.#series.gauge(
    'gvisor_fleet_node_labelled',
    'Whether the label `ready` of a node is "true".',
    ['node'],
  );
  readonly #without = this.#series.gauge(
    'gvisor_fleet_label_without_agent',
    'A node that is Ready and labelled, and on which no agent is Ready.',
    ['node'],
  );
  readonly #missing = this.#series.gauge(
    'gvisor_fleet_agents_missing',
    'Desired agents that are not Ready.',
    [],
  );
  readonly #oldest = this.#series.gauge(
    'gvisor_fleet_oldest_proof_timestamp_seconds',
    'The oldest last proof of a proven node, Unix time.',
    [],
  );
  readonly #releases = this.#series.gauge(
    'gvisor_fleet_releases',
    'Nodes by release of gVisor, containerd and agent.',
    ['component', 'release'],
  );
  readonly #brake = this.#series.gauge('gvisor_fleet_brake', 'Whether this holds all withdrawals.', [
    'reason',
  ]);
  readonly #held = this.#series.gauge(
    'gvisor_fleet_held_nodes',
    'Nodes whose label would be withdrawn and is held.',
    [],
  );
  readonly #withdrawals = this.#series.counter(
    'gvisor_fleet_withdrawals_total',
    'Labels of lost agents that were withdrawn.',
    [],
  );
  readonly #requests = this.#series.counter(
    'gvisor_fleet_api_requests_total',
    'Requests to the API server by verb and code, without watches.',
    ['verb', 'code'],
  );

  constructor(version: string) {
    processMetrics(this.#series.registry);
    this.#series
      .gauge('gvisor_fleet_build_info', 'Version of the fleet controller.', ['version'])
      .set({ version }, 1);
  }

  /** Counts one request to the API server. */
  readonly countRequest = (verb: string, code: number): void => {
    this.#requests.inc({ verb, code: String(code) });
  };

  /** Counts a label that was withdrawn. */
  countWithdrawal(): void {
    this.#withdrawals.inc();
  }

  /** The text of /metrics for what the fleet looks like, and its content type. */
  async text(view: FleetView): Promise<{ readonly body: string; readonly type: string }> {
    for (const gauge of [this.#nodes, this.#labelled, this.#without, this.#releases]) gauge.reset();
    this.#current.set(Number(view.current));
    for (const { name, state, reason, label } of view.nodes) {
      this.#nodes.inc({ status: STATUS[state], reason });
      this.#labelled.set({ node: name }, Number(label === 'true'));
    }
    for (const node of view.withoutAgent) this.#without.set({ node }, 1);
    this.#missing.set(Math.max(view.agents.desired - view.agents.ready, 0));
    this.#oldest.set(view.oldestProof === undefined ? 0 : Date.parse(view.oldestProof.at) / 1_000);
    for (const [component, counts] of Object.entries(view.releases))
      for (const [release, count] of Object.entries(counts))
        this.#releases.set({ component, release }, count);
    const on = new Set(view.brake.map(({ reason }) => reason));
    for (const reason of Object.keys(BRAKE_REASONS) as BrakeReason[])
      this.#brake.set({ reason }, Number(on.has(reason)));
    this.#held.set(view.held.length);
    const { registry } = this.#series;
    return { body: await registry.metrics(), type: registry.contentType };
  }
}
