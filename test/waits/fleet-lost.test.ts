import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { VERSION } from '../../agent/version.ts';
import { secondsUntilLabel } from '../../cluster/story.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { agentPids, askAgent, deployWith, waitForNode } from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import {
  askFleet,
  deployFleet,
  GVISOR_NODES,
  keepAgentsAway,
  letAgentsReturn,
  readFleet,
  removeFleet,
  saidOfNodes,
  waitForBrake,
} from '../e2e/fleet-cluster.ts';

const cluster = useCluster();

describe('a node whose agent is lost', () => {
  before(async () => {
    await deployFleet(cluster(), { RECOVERY_DELAY: '10s' });
    for (const node of GVISOR_NODES) await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    await waitForBrake(cluster());
  });
  after(async () => {
    await removeFleet(cluster());
    await deployWith(cluster());
  });

  it('is on the page of the fleet with its releases and its last proof, and leads to the page of its agent', async () => {
    const node = await waitFor('a proof', 30_000, async () => {
      const { nodes } = await readFleet(cluster());
      return nodes.find(({ name, provenAt }) => name === 'node-1' && provenAt !== '');
    });
    assert.deepEqual([node.state, node.agent, node.version], ['proven', 'ready', VERSION]);
    assert.match(node.gvisor, /^release-/);
    assert.match(await askFleet(cluster(), '/nodes/node-1/'), /gVisor works here/);
  });

  it('loses the label within 120 s when the agent cannot run, and has it back within 5 s of the next proof', async () => {
    const away = () => keepAgentsAway(cluster(), 'node-1');
    const seconds = await secondsUntilLabel(cluster(), 'node-1', 'false', away, 150_000);
    assert.ok(seconds > 85 && seconds <= 120, `withdrawn after ${seconds} s`);
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'Unknown AgentLost');
    await waitFor('the page to say so', 20_000, async () => {
      const [first] = (await readFleet(cluster())).nodes;
      assert.deepEqual([first?.name, first?.reason, first?.agent], ['node-1', 'AgentLost', 'not ready']);
      return true;
    });
    let backMs = 0;
    const back = async () => letAgentsReturn(cluster(), 'node-1');
    await secondsUntilLabel(cluster(), 'node-1', 'true', back, 150_000).then(() => {
      backMs = Date.now();
    });
    const { text } = await askAgent(cluster(), 'node-1', '/report');
    const { provenAt } = JSON.parse(text) as { provenAt: string };
    const lateS = (backMs - Date.parse(provenAt)) / 1_000;
    assert.ok(lateS >= 0 && lateS <= 5, `the label came ${lateS} s after the proof`);
    console.log(`withdrawn after ${seconds.toFixed(1)} s, back ${lateS.toFixed(1)} s after the proof`);
    // The label may come a moment before the condition.
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'True SandboxProven');
  });

  it('keeps the label while the kubelet is stopped, and when it is back', async () => {
    const before = await saidOfNodes(cluster());
    const node = cluster().node('node-1');
    await node.system.stopDaemon('kubelet');
    try {
      await waitFor('the Node to be NotReady', 120_000, async () => {
        const { nodes } = await readFleet(cluster());
        return nodes.find(({ name }) => name === 'node-1')?.nodeReady === false ? true : undefined;
      });
      await pause(100);
      assert.deepEqual(await saidOfNodes(cluster()), before);
    } finally {
      await node.startKubelet();
    }
    await cluster().waitForNodes(['node-1']);
    await pause(30);
    assert.deepEqual(await saidOfNodes(cluster()), before);
  });

  it('loses the label when the agent stands still (SIGSTOP), and has it back when it goes on', async () => {
    await deployFleet(cluster(), { RECOVERY_DELAY: '10s', AGENT_TIMEOUT: '20s' });
    await waitForBrake(cluster());
    await pause(25);
    const { machine } = cluster().node('node-2');
    const pids = agentPids(machine);
    const stop = () => machine.kill('STOP', pids);
    await secondsUntilLabel(cluster(), 'node-2', 'false', stop, 90_000);
    await waitForNode(cluster(), 'node-2', ({ condition }) => condition === 'Unknown AgentLost');
    const seconds = await secondsUntilLabel(
      cluster(),
      'node-2',
      'true',
      () => machine.kill('CONT', pids),
      30_000,
    );
    assert.ok(seconds < 10, `${seconds} s`);
    await waitForNode(cluster(), 'node-2', ({ condition }) => condition === 'True SandboxProven');
  });
});
