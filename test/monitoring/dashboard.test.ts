import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { panels, substituted } from './dashboard.ts';
import { agent, always, controller, failingAt, nodeWithoutGvisor, type Series } from './fleet.ts';
import { assertQueries } from './promtool.ts';

/** Values of the stat panels by title; panels without data are absent. */
type Shown = Readonly<Record<string, number>>;

const NUMBERS = (await panels()).filter(({ type }) => type === 'stat');

/** An agent's metric for a pod outside gVisor. */
const OUTSIDE = { gvisor_ready_unsandboxed_pods: always(1) };

/** Two nodes where gVisor works, and nothing else. */
const HEALTHY: Shown = {
  'Ready share': 1,
  'Nodes not ready': 0,
  'Silent agents': 0,
  'Pods outside gVisor': 0,
  'Nodes with pods unseen': 0,
};

/** The query of the panel with this title. */
async function queryOf(title: string): Promise<string> {
  const panel = (await panels()).find((each) => each.title === title);
  return substituted(panel?.targets[0]?.expr ?? '');
}

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
  await assertQueries(series, Object.fromEntries(queries));
}

describe('the dashboard', () => {
  it('has no data in any panel without agents, but an alert that says so', async () => {
    const exprs = (await panels()).flatMap(({ title, targets }) =>
      targets.map(({ expr }) => [title, substituted(expr)] as const),
    );
    const missing = { '{alertname="GVisorAgentsMissing", severity="critical"}': 1 };
    const queries = exprs.map(([title, expr]) => [expr, title === 'Firing alerts' ? missing : {}] as const);
    await assertQueries({}, Object.fromEntries(queries));
  });

  it('lists the alerts that fire, with their nodes', async () => {
    const series = {
      ...agent('node="node-1"', OUTSIDE),
      ...failingAt(5, agent('node="node-2"')),
      ...controller(''),
    };
    await assertQueries(series, {
      [await queryOf('Firing alerts')]: {
        '{alertname="GVisorUnsandboxedPods", severity="critical", node="node-1"}': 1,
        '{alertname="GVisorAgentDown", severity="warning", node="node-2"}': 1,
      },
    });
  });

  it('shows counted zeros, and leaves out nodes where gVisor is not expected', async () => {
    const series = {
      ...agent('node="node-1"'),
      ...agent('node="node-2"'),
      ...nodeWithoutGvisor('node="control-plane"'),
    };
    await assertShown(series, HEALTHY);
  });

  it('counts the nodes where an additional handler is proven, once for two replicas', async () => {
    const on = (node: string, handler: string, value: number, replica = 0) => ({
      [`gvisor_ready_handler_status{node="${node}", handler="${handler}", status="True", replica="${replica}"}`]:
        always(value),
    });
    const series = {
      ...on('node-1', 'runsc-kvm', 1),
      ...on('node-1', 'runsc-kvm', 1, 1),
      ...on('node-2', 'runsc-kvm', 0),
      ...on('node-1', 'runsc-debug', 0),
    };
    await assertQueries(series, {
      [await queryOf('Proven nodes by additional handler')]: {
        '{handler="runsc-kvm"}': 1,
        '{handler="runsc-debug"}': 0,
      },
    });
  });

  it('shows the memory of gVisor pods beside that of their containers, once for two sources', async () => {
    const pod = 'namespace="eval", pod="a"';
    const cadvisor = `container_memory_working_set_bytes{${pod}, id="x"`;
    const series = {
      [`kube_pod_runtimeclass_name_info{${pod}, uid="1", runtimeclass_name="gvisor"}`]: always(1),
      [`pod_memory_working_set_bytes{${pod}}`]: always(22),
      [`${cadvisor}, container=""}`]: always(20),
      [`${cadvisor}, container="c"}`]: always(2),
      [`container_memory_working_set_bytes{${pod}, container="c"}`]: always(2),
      [`container_memory_working_set_bytes{${pod}, container="d"}`]: always(1),
      'pod_memory_working_set_bytes{namespace="eval", pod="outside"}': always(7),
    };
    await assertQueries(series, {
      [await queryOf('Memory of gVisor pods')]: { '{of="pods"}': 22, '{of="containers"}': 3 },
    });
  });

  it('shows what silent agents said last, and that they are silent', async () => {
    const series = {
      ...failingAt(5, agent('node="node-1"', OUTSIDE)),
      ...failingAt(5, agent('node="node-2"', { 'gvisor_ready_node_status{status="True"}': always(0) })),
    };
    await assertShown(series, {
      'Ready share': 0.5,
      'Nodes not ready': 1,
      'Silent agents': 1,
      'Pods outside gVisor': 1,
    });
  });

  it('shows the share of agents that are gone', async () => {
    const series = {
      ...agent('node="node-1"'),
      ...controller('', { gvisor_ready_fleet_agents_desired: always(5) }),
    };
    await assertShown(series, { ...HEALTHY, 'Silent agents': 0.8 });
  });

  it('counts a pod once for two replicas, and equal node names in two clusters twice', async () => {
    const series = {
      ...agent('cluster="a", node="node-1", replica="0"', OUTSIDE),
      ...agent('cluster="a", node="node-1", replica="1"', OUTSIDE),
      ...agent('cluster="b", node="node-1"', {
        'gvisor_ready_node_status{status="True"}': always(0),
        gvisor_ready_namespaces_last_update_timestamp_seconds: '0x60',
      }),
    };
    await assertShown(series, {
      ...HEALTHY,
      'Ready share': 0.5,
      'Nodes not ready': 1,
      'Pods outside gVisor': 1,
      'Nodes with pods unseen': 1,
    });
  });
});
