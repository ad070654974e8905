import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SERVICE_ADDRESS } from '../../cluster/control-plane/control-plane.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { waitFor } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
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

  const firstAlarmIs = (reason: string, isFirst: boolean) =>
    waitFor(`the first alarm to be ${isFirst ? '' : 'not '}${reason}`, 20_000, async () => {
      const [alarm] = (await readFleet(cluster())).alarms;
      return (alarm?.reason === reason) === isFirst || undefined;
    });
  const TOKENS = '/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*/token';
  /** How an agent with this PID is kept from writing, and let go. */
  const CUTS: Readonly<Record<string, (pid: string) => readonly [string[], string[]]>> = {
    'cannot reach the API server': (pid) => {
      const route = ['nsenter', '--net', `--target=${pid}`, '--', 'ip', 'route'];
      const unreachable = ['unreachable', SERVICE_ADDRESS];
      return [
        [...route, 'add', ...unreachable],
        [...route, 'del', ...unreachable],
      ];
    },
    // A link of the kubelet's, which it does not look at again while the token behind it is young.
    'has a dead token': () => [
      ['sh', '-c', `for token in ${TOKENS}; do rm "$token" && echo dead >"$token"; done`],
      ['sh', '-c', `for token in ${TOKENS}; do ln -sf ..data/token "$token"; done`],
    ],
  };
  for (const [why, cutOf] of Object.entries(CUTS))
    it(`withdraws the label that an agent refutes, and the agent ${why}`, async (t) => {
      const node = cluster().node('node-1');
      const [cut, letGo] = cutOf(String(agentPids(node.machine)[0]));
      const isUnready = /the label is not withdrawn from the Node yet: /;
      const readiness = async () => (await getFromAgent(cluster(), 'node-1', '/readyz')).text;
      const isNow = (condition: string, timeoutMs: number) =>
        waitForNode(cluster(), 'node-1', (now) => now.condition === condition, timeoutMs);
      // An agent that stays cut off would keep all that follows waiting.
      t.after(async () => {
        await node.machine.run(letGo).catch(() => '');
        await healNode(cluster(), node);
      });
      await node.machine.run(cut);
      await breakNode(cluster(), node, 'shim-missing');
      await firstAlarmIs('LabelOutdated', true);
      await waitFor('the agent to be unready', 10_000, async () => isUnready.test(await readiness()));
      const { ready } = await isNow('Unknown AgentCannotWrite', 90_000);
      assert.equal(ready, 'false');
      await node.machine.run(letGo);
      await isNow('False ShimNotFound', 5_000);
      await healNode(cluster(), node);
      await isNow('True SandboxProven', 5_000);
      await waitFor('the agent to be ready', 10_000, async () => (await readiness()).startsWith('ok'));
      await firstAlarmIs('LabelOutdated', false);
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
