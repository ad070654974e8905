import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { patient, pause, waitFor } from '../../hack/run.ts';
import { agentOn, deployWith, onDaemonSet, waitForNode } from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import {
  askFleet,
  countWithdrawals,
  deployFleet,
  GVISOR_NODES,
  keepAgentsAway,
  letAgentsReturn,
  readFleet,
  removeFleet,
  saidOfNodes,
  scaleFleet,
  waitForBrake,
} from '../e2e/fleet-cluster.ts';

const cluster = useCluster();
/**
 * Times that are short enough to wait for. RECOVERY_DELAY covers the minute in which kubelets come back to an API server that was
 * away: client-go's watches wait up to 30 s and more between tries, and until then the node and its pods count as not
 * Ready. With FLEET_TIMES=real the controller has its defaults (90 s, 10 min, 3 min), the API server is away for 5 minutes
 * and the controller for 10; the file then takes most of an hour.
 */
const TIMES =
  process.env.FLEET_TIMES === 'real'
    ? { settings: {}, holdS: 300, apiS: 300, controllerS: 600, patienceMs: 900_000 }
    : {
        settings: { AGENT_TIMEOUT: '20s', CIRCUIT_BREAKER_WINDOW: '40s', RECOVERY_DELAY: '90s' },
        holdS: 60,
        apiS: 60,
        controllerS: 40,
        patienceMs: 180_000,
      };

describe('the fleet controller withdraws nothing', () => {
  before(async () => {
    await deployFleet(cluster(), TIMES.settings);
  });
  after(async () => {
    await letAgentsReturn(cluster(), ...GVISOR_NODES);
    await removeFleet(cluster());
    await deployWith(cluster());
  });

  /** All nodes are proven, nothing is held, and all timers have begun. */
  const settle = async () => {
    for (const node of GVISOR_NODES)
      await waitForNode(cluster(), node, ({ condition }) => condition === 'True SandboxProven', 120_000);
    await waitForBrake(cluster(), undefined, TIMES.patienceMs);
    return { said: await saidOfNodes(cluster()), withdrawals: await countWithdrawals(cluster()) };
  };
  /** Nothing changed, not for a moment: the times of the conditions' last transitions have not moved. */
  const assertKept = async ({ said, withdrawals }: Awaited<ReturnType<typeof settle>>) => {
    assert.deepEqual(await saidOfNodes(cluster()), said);
    assert.equal(await countWithdrawals(cluster()), withdrawals);
  };

  it('in a rolling update of all agents', async () => {
    const before = await settle();
    await onDaemonSet(cluster(), ['set', 'env'], ['LOG_LEVEL=debug']);
    await waitForBrake(cluster(), 'RollingOut');
    await onDaemonSet(cluster(), ['rollout', 'status'], ['--timeout=270s']);
    await pause(TIMES.holdS);
    await waitForBrake(cluster(), undefined, TIMES.patienceMs);
    await assertKept(before);
  });

  it('when half of the agents and more are gone, and says so', async () => {
    const before = await settle();
    await keepAgentsAway(cluster(), ...GVISOR_NODES);
    await waitForBrake(cluster(), 'TooManyLost');
    await pause(TIMES.holdS);
    await assertKept(before);
    const { paused, withoutAgent } = await readFleet(cluster());
    assert.deepEqual([paused, withoutAgent], [[...GVISOR_NODES], [...GVISOR_NODES]]);
    assert.match(
      await askFleet(cluster(), '/metrics'),
      /^gvisor_fleet_circuit_breaker_open\{reason="TooManyLost"\} 1$/m,
    );
    const words = ['get', 'events', '-n', 'gvisor-ready', '--field-selector', 'reason=WithdrawalsPaused'];
    assert.match(await cluster().kubectl([...words, '-o', 'jsonpath={.items[*].message}']), /TooManyLost/);
    await letAgentsReturn(cluster(), ...GVISOR_NODES);
    await waitForBrake(cluster(), undefined, TIMES.patienceMs);
    await pause(TIMES.holdS / 2);
    await assertKept(before);
  });

  it('while the API server is down, nor when it is back', async () => {
    const before = await settle();
    const node = cluster().node('node-3');
    await breakNode(cluster(), node, 'api-down');
    await pause(TIMES.apiS);
    await healNode(cluster(), node, 'api-down');
    // Before anything else: it holds for RECOVERY_DELAY only.
    await waitForBrake(cluster(), 'ApiServerAway');
    await cluster().waitForNodes(undefined, patient(90_000));
    await waitForBrake(cluster(), undefined, TIMES.patienceMs);
    await pause(TIMES.holdS);
    await assertKept(before);
  });

  it('when it was down while an agent was lost and came back', async () => {
    const before = await settle();
    await scaleFleet(cluster(), 0);
    await keepAgentsAway(cluster(), 'node-1');
    await pause(TIMES.controllerS);
    await letAgentsReturn(cluster(), 'node-1');
    await waitFor('the agent', 90_000, async () => (await agentOn(cluster(), 'node-1')).ready || undefined);
    await scaleFleet(cluster(), 1);
    await pause(TIMES.holdS);
    await assertKept(before);
  });

  it('twice where two controllers run', async () => {
    await settle();
    await scaleFleet(cluster(), 2);
    await pause(10);
    const before = await countWithdrawals(cluster());
    await keepAgentsAway(cluster(), 'node-1');
    await waitForNode(
      cluster(),
      'node-1',
      ({ condition }) => condition === 'Unknown AgentLost',
      TIMES.patienceMs,
    );
    await pause(20);
    assert.equal(await countWithdrawals(cluster()), before + 1);
    await letAgentsReturn(cluster(), 'node-1');
    await waitForNode(cluster(), 'node-1', ({ condition }) => condition === 'True SandboxProven', 90_000);
  });
});
