import assert from 'node:assert/strict';
import { it } from 'node:test';
import { FleetMetrics } from '../../controller/metrics.ts';
import { viewFleet } from '../../lib/fleet/view.ts';
import { burningFleet } from '../lib/fleet/sample-fleet.ts';
import { EMPTY_FLEET, simulatedNode } from '../lib/fleet/simulated-fleet.ts';

it('the metrics say of no guard that it is there while that is not known', async () => {
  const unread = { isRequired: true, missing: [], problem: '403' };
  for (const guards of [undefined, unread]) {
    const { guards: _, ...view } = burningFleet();
    const { body } = await new FleetMetrics().text({ ...view, ...(guards && { guards }) });
    assert.doesNotMatch(body, /guard_missing\{/);
  }
});

it('the metrics have what the alerts read of a fleet in trouble', async () => {
  const { body } = await new FleetMetrics().text(burningFleet());
  for (const line of [
    'gvisor_ready_fleet_watches_up 1',
    'gvisor_ready_fleet_node_labelled{node="sandbox-1"} 1',
    'gvisor_ready_fleet_node_labelled{node="sandbox-10"} 0',
    'gvisor_ready_fleet_label_without_agent{node="sandbox-1"} 1',
    'gvisor_ready_fleet_agents_missing 4',
    'gvisor_ready_fleet_oldest_proof_timestamp_seconds 1795597200',
    'gvisor_ready_fleet_releases{component="gvisor",release="release-20260223.0"} 60',
    'gvisor_ready_fleet_releases{component="containerd",release="2.1.4"} 300',
    'gvisor_ready_fleet_circuit_breaker_open{reason="AgentsGone"} 0',
    'gvisor_ready_fleet_circuit_breaker_open{reason="TooManyLost"} 1',
    'gvisor_ready_fleet_circuit_breaker_open{reason="RollingOut"} 0',
    'gvisor_ready_fleet_paused_withdrawals 3',
    'gvisor_ready_fleet_failed_writes 1',
    'gvisor_ready_fleet_guard_missing{guard="gvisor-ready-agent"} 1',
    'gvisor_ready_fleet_guard_missing{guard="gvisor-ready-enforce"} 0',
    'gvisor_ready_fleet_gvisor_required 1',
  ])
    assert.ok(body.split('\n').includes(line), `no ${line}`);
  assert.doesNotMatch(body, /label_without_agent\{node="sandbox-11"\}|fleet_egress_nodes\{/);
});

it('the metrics say of each target for how long it was open, and is', async () => {
  const verdicts = {
    a: { state: 'open', targets: [{ name: 'kubelet', ms: 84 }, { name: 'pod' }] },
    b: { state: 'closed' },
  } as const;
  const nodes = ['a', 'b'].map((name) => simulatedNode(name));
  const view = viewFleet({ ...EMPTY_FLEET, nodes, egress: new Map(Object.entries(verdicts)) });
  const { body } = await new FleetMetrics().text(view);
  assert.deepEqual(body.match(/^gvisor_ready_fleet_egress.*/gm)?.sort(), [
    'gvisor_ready_fleet_egress_nodes{state="closed"} 1',
    'gvisor_ready_fleet_egress_nodes{state="open"} 1',
    'gvisor_ready_fleet_egress_nodes{state="unknown"} 0',
    'gvisor_ready_fleet_egress_open_seconds{node="a",target="kubelet"} 0.084',
    'gvisor_ready_fleet_egress_open_seconds{node="a",target="pod"} +Inf',
  ]);
});
