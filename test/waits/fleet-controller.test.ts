import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import { SERVICE_ADDRESS } from '../../cluster/control-plane/control-plane.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, getFromAgent, type readinessOf, waitForNode } from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import {
  deployQuickFleet,
  disableAgents,
  enableAgents,
  getFromFleet,
  readFleet,
  restoreAgents,
} from '../e2e/fleet-cluster.ts';

const cluster = useCluster(deployQuickFleet, restoreAgents);

type Readiness = ReturnType<typeof readinessOf>;
const isLost = ({ ready, condition }: Readiness) => ready === 'false' && condition === 'Unknown AgentLost';
const isProven = ({ ready, condition }: Readiness) => ready === 'true' && condition === 'True SandboxProven';

describe('the fleet controller on a real cluster', () => {
  it('reports the releases and last proof of a node, and renders its page', async () => {
    const node = await waitFor('a proof', 30_000, async () => {
      const { nodes } = await readFleet(cluster());
      return nodes.find(({ name, provenAt }) => name === 'node-1' && provenAt !== '');
    });
    assert.deepEqual([node.state, node.agent, node.version], ['proven', 'ready', VERSION]);
    assert.match(node.gvisor, /^release-/);
    const page = await getFromFleet(cluster(), '/nodes/node-1/');
    assert.match(page, /<h1 id="verdict">gVisor works here<\/h1>/);
    assert.match(page, /A sandbox of handler "|A sandbox of handler &quot;runsc&quot; booted in gVisor/);
  });

  it('withdraws the label when an agent cannot run, and the next agent restores it', async () => {
    await disableAgents(cluster(), 'node-1');
    await waitForNode(cluster(), 'node-1', isLost, 150_000);
    await waitFor('the page to show it', 20_000, async () => {
      const [first] = (await readFleet(cluster())).nodes;
      assert.deepEqual([first?.name, first?.reason, first?.agent], ['node-1', 'AgentLost', 'not ready']);
      return true;
    });
    await enableAgents(cluster(), 'node-1');
    await waitForNode(cluster(), 'node-1', isProven, 150_000);
  });

  it('withdraws the label that an agent refutes, which cannot reach the API server', async () => {
    const node = cluster().node('node-1');
    const [pid = 0] = agentPids(node.machine);
    const route = (action: 'add' | 'del') =>
      node.machine.run([
        ...['nsenter', '--net', `--target=${pid}`, '--', 'ip', 'route', action],
        ...['unreachable', SERVICE_ADDRESS],
      ]);
    const readiness = async () => (await getFromAgent(cluster(), 'node-1', '/readyz')).text;
    const alarms = async () => (await readFleet(cluster())).alarms.map(({ reason }) => reason);
    await route('add');
    await breakNode(cluster(), node, 'shim-missing');
    await waitFor('the first alarm', 20_000, async () => (await alarms())[0] === 'LabelOutdated');
    assert.match(await readiness(), /^the label is not withdrawn from the Node yet: /);
    const refuted = 'Unknown AgentCannotWrite';
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === refuted, 90_000);
    await route('del');
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'False ShimNotFound', 40_000);
    await healNode(cluster(), node);
    await waitForNode(cluster(), 'node-1', isProven, 10_000);
    await waitFor('the agent to be ready', 10_000, async () => (await readiness()) === 'ok\n');
  });

  it('withdraws the label of an agent stopped with SIGSTOP until it continues', async () => {
    const { machine } = cluster().node('node-2');
    const pids = agentPids(machine);
    await machine.kill('STOP', pids);
    await waitForNode(cluster(), 'node-2', isLost, 120_000);
    await machine.kill('CONT', pids);
    await waitForNode(cluster(), 'node-2', isProven);
  });
});
