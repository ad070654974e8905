import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VERSION } from '../../agent/config.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, type readinessOf, waitForNode } from '../e2e/agents.ts';
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

  it('withdraws the label of an agent stopped with SIGSTOP until it continues', async () => {
    const { machine } = cluster().node('node-2');
    const pids = agentPids(machine);
    await machine.kill('STOP', pids);
    await waitForNode(cluster(), 'node-2', isLost, 120_000);
    await machine.kill('CONT', pids);
    await waitForNode(cluster(), 'node-2', isProven);
  });
});
