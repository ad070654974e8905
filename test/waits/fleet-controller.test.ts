import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { SERVICE_ADDRESS } from '../../cluster/plan/addresses.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPids, getFromAgent, type readinessOf, waitForNode } from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import {
  deployQuickFleet,
  disableAgents,
  enableAgents,
  readFleet,
  restoreAgents,
} from '../e2e/fleet-cluster.ts';
import { RARE } from '../rare.ts';

const NOBODY = '192.0.2.1';

const cluster = useCluster(deployQuickFleet, restoreAgents);

type Readiness = ReturnType<typeof readinessOf>;
const isLost = ({ ready, condition }: Readiness) => ready === 'false' && condition === 'Unknown AgentLost';
const isProven = ({ ready, condition }: Readiness) => ready === 'true' && condition === 'True SandboxProven';

describe('the fleet controller on a real cluster', () => {
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
  const onTokens = (act: string) => `for token in ${TOKENS}; do ${act}; done`;
  /** How an agent is kept from writing, and let go, by a shell in its network. */
  const CUTS = {
    // A link of the kubelet's, which it does not look at again while the token behind it is young.
    'has a dead token': [
      onTokens('rm "$token" && echo dead >"$token"'),
      onTokens('ln -sf ..data/token "$token"'),
    ],
    // No packet is answered, nor refused: nobody has that address.
    'is cut off': [
      `ip neigh replace ${NOBODY} lladdr 02:00:00:00:00:99 dev eth0 nud permanent
       ip route replace ${SERVICE_ADDRESS} via ${NOBODY} dev eth0 onlink`,
      `ip route del ${SERVICE_ADDRESS}`,
    ],
  } as const;
  for (const [what, [cut, letGo]] of Object.entries(CUTS).slice(0, RARE ? 2 : 1))
    it(`withdraws the label that an agent refutes which ${what}`, async (t) => {
      const node = cluster().node('node-1');
      const target = `--target=${agentPids(node.machine)[0]}`;
      const run = (script: string) => node.machine.run(['nsenter', '--net', target, 'sh', '-c', script]);
      const isUnready = /the label is not withdrawn from the Node yet/;
      const readiness = async () => (await getFromAgent(cluster(), 'node-1', '/readyz')).text;
      const isNow = (condition: string, timeoutMs: number) =>
        waitForNode(cluster(), 'node-1', (now) => now.condition === condition, timeoutMs);
      // An agent that stays cut off would keep all that follows waiting.
      t.after(async () => {
        await run(letGo).catch(() => '');
        await healNode(cluster(), node);
      });
      await run(cut);
      await breakNode(cluster(), node, 'shim-missing');
      // At the same time, since both end once the controller has withdrawn the label.
      await Promise.all([
        firstAlarmIs('LabelOutdated', true),
        waitFor('the agent to be unready', 10_000, async () => isUnready.test(await readiness())),
      ]);
      const { ready } = await isNow('Unknown AgentCannotWrite', 90_000);
      assert.equal(ready, 'false');
      await run(letGo);
      await isNow('False ShimNotFound', 5_000);
      await healNode(cluster(), node);
      await isNow('True SandboxProven', 5_000);
      await waitFor('the agent to be ready', 10_000, async () => (await readiness()).startsWith('ok'));
      await firstAlarmIs('LabelOutdated', false);
    });
});
