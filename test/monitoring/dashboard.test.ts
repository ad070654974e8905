import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools.ts';
import { panels, substituted } from '../monitoring/dashboard.ts';
import { agent, always, controller, failingAt, nodeWithoutGvisor, type Series } from '../monitoring/fleet.ts';
import { assertQueries } from '../monitoring/promtool.ts';
import { OUTSIDE } from './causes.ts';

let promtool: string;
before(async () => {
  promtool = join((await ensureTools(['prometheus'])).prometheus, 'promtool');
});

/** Values of the stat panels by title; panels without data are absent. */
type Shown = Readonly<Record<string, number>>;

const NUMBERS = (await panels()).filter(({ type }) => type === 'stat');

/** Two nodes where gVisor works, and nothing else. */
const HEALTHY: Shown = {
  'Nodes ready': 2,
  'Nodes not ready': 0,
  'Ready share': 1,
  'Pods outside of gVisor': 0,
  'Nodes with pods unseen': 0,
  'Pods in gVisor': 0,
  'Agents that do not answer': 0,
  'Nodes without gVisor': 0,
  'Sandbox problems': 0,
};

async function assertShown(series: Series, shown: Shown): Promise<void> {
  const queries = NUMBERS.map(({ title, targets: [target] }) => {
    const value = shown[title];
    return [substituted(target?.expr ?? ''), value === undefined ? {} : { '{}': value }] as const;
  });
  for (const title of Object.keys(shown))
    assert.ok(
      NUMBERS.some((panel) => panel.title === title),
      title,
    );
  await assertQueries(promtool, series, Object.fromEntries(queries));
}

describe('the dashboard', () => {
  it('has no data in any panel without agents', async () => {
    const all = (await panels()).flatMap(({ targets }) => targets.map(({ expr }) => substituted(expr)));
    await assertQueries(promtool, {}, Object.fromEntries(all.map((expr) => [expr, {}])));
  });

  it('shows counted zeros, and leaves out nodes where gVisor is not expected', async () => {
    const series = {
      ...agent('node="node-1"'),
      ...agent('node="node-2"'),
      ...nodeWithoutGvisor('node="control-plane"'),
    };
    await assertShown(series, { ...HEALTHY, 'Nodes without gVisor': 1 });
  });

  it('shows only the silent agents when no agent responds', async () => {
    const series = { ...failingAt(5, agent('node="node-1"')), ...failingAt(5, agent('node="node-2"')) };
    await assertShown(series, { 'Agents that do not answer': 2 });
  });

  it('counts a pod once for two replicas, and equal node names in two clusters twice', async () => {
    const inside = {
      'gvisor_pods{handler="runsc", sandboxed="true"}': '3x60',
      'gvisor_sandbox_problems{reason="ShimLingers"}': '2x60',
      ...OUTSIDE,
    };
    const series = {
      ...agent('cluster="a", node="node-1", replica="0"', inside),
      ...agent('cluster="a", node="node-1", replica="1"', inside),
      ...agent('cluster="b", node="node-1"', { gvisor_namespaces_last_update_timestamp_seconds: '0x60' }),
    };
    await assertShown(series, {
      ...HEALTHY,
      'Pods outside of gVisor': 1,
      'Nodes with pods unseen': 1,
      'Pods in gVisor': 3,
      'Sandbox problems': 2,
    });
  });

  it("shows a fleet controller's counts once for two replicas of Prometheus", async () => {
    const series = {
      ...controller('cluster="a", instance="1", replica="0"'),
      ...controller('cluster="a", instance="1", replica="1"'),
      ...controller('cluster="b", instance="1"', { gvisor_fleet_oldest_proof_timestamp_seconds: always(0) }),
    };
    await assertShown(series, {
      'Agents missing': 0,
      'Paused withdrawals': 0,
      'Labels withdrawn in an hour': 0,
      'Age of the oldest proof': 35 * 60,
    });
  });

  it('shows only the withdrawals of a fleet controller without working watches', async () => {
    const series = controller('instance="1"', { gvisor_fleet_watches_up: always(0) });
    await assertShown(series, { 'Labels withdrawn in an hour': 0 });
  });
});
