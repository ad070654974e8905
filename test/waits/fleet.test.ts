import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { pause, waitFor } from '../../hack/run.ts';
import { useApiServer } from '../api/api-server.ts';
import { conditionOf, FleetObjects, READY } from '../api/fleet-objects.ts';
import { FleetRun, SHORT } from '../api/fleet-run.ts';
import { DOMAIN, readNode, saidOf } from '../e2e/agents.ts';

const cluster = useApiServer([]);
const NAMES = ['node-1', 'node-2', 'node-3'] as const;

const saidBy = async (name: string) => saidOf(await readNode(cluster(), name));
const withdrawn = (name: string) =>
  waitFor(`the label of ${name} to be withdrawn`, 40_000, async () =>
    (await saidBy(name)).ready === 'false' ? true : undefined,
  );

describe('the fleet controller with its own token, on a real API server', () => {
  let objects: FleetObjects;
  let runs: FleetRun[] = [];

  const start = async (env: Readonly<Record<string, string>> = SHORT) => {
    const run = await FleetRun.start(cluster(), env);
    runs.push(run);
    await waitFor('the controller to see the fleet', 20_000, async () => run.fleet.ready || undefined);
    return run;
  };
  /** Nothing was withdrawn. */
  const assertKept = async (...names: readonly string[]) => {
    for (const name of names) {
      const { ready, condition } = await saidBy(name);
      assert.deepEqual([name, ready, condition], [name, 'true', 'True SandboxProven']);
    }
  };

  before(async () => {
    objects = await FleetObjects.open(cluster());
    for (const name of NAMES) await objects.addNode(name);
    await objects.observeDaemonSet(3);
  });
  beforeEach(async () => {
    for (const name of NAMES) {
      const conditions = [
        conditionOf('Ready', 'True', 'KubeletReady'),
        conditionOf('GVisorReady', 'True', 'SandboxProven'),
      ];
      await objects.writeStatus(name, { conditions }, { [READY]: 'true' });
      await objects.setAgent(name, true);
    }
  });
  afterEach(async () => {
    await Promise.all(runs.map((run) => run.stop()));
    runs = [];
  });

  it('withdraws the label of a lost agent and says why, in the condition and in an event', async () => {
    const run = await start();
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
    assert.equal((await saidBy('node-1')).condition, 'Unknown AgentLost');
    await assertKept('node-2', 'node-3');
    const event = await waitFor('the event', 10_000, async () => {
      const words = [
        'get',
        'events',
        '--field-selector',
        'reason=AgentLost',
        '-o',
        'jsonpath={.items[0].message}',
      ];
      return (await cluster().kubectl(words)) || undefined;
    });
    assert.match(event, /^no agent on this node was Ready for 10 s.* What to do: See why the agent's pod/);
    const { body } = await run.metrics.text(run.fleet.view);
    assert.match(body, /^gvisor_fleet_withdrawals_total 1$/m);
    assert.match(body, /^gvisor_fleet_nodes\{status="Unknown",reason="AgentLost"\} 1$/m);
    assert.match(body, /^gvisor_fleet_api_requests_total\{verb="PATCH",code="200"\} 1$/m);
  });

  it('withdraws every label of an earlier boot while the brake is on, Ready or not, and no other', async () => {
    const run = await start();
    const annotate = (value: string) =>
      cluster().kubectl(['annotate', 'nodes', ...NAMES, '--overwrite', `${DOMAIN}/proven-boot${value}`]);
    const nodeInfo = (bootID: string) => ({ nodeInfo: { bootID } });
    try {
      await annotate('=boot-1');
      await objects.setAgent('node-2', false);
      await objects.setAgent('node-3', false);
      await waitFor('the brake', 20_000, async () => run.brake.includes('TooManyLost') || undefined);
      await objects.writeStatus('node-1', nodeInfo('boot-1'));
      await objects.writeStatus('node-2', {
        ...nodeInfo('boot-2'),
        conditions: [conditionOf('Ready', 'False', 'KubeletNotReady')],
      });
      await objects.writeStatus('node-3', nodeInfo('boot-2'));
      for (const name of ['node-2', 'node-3']) {
        await withdrawn(name);
        assert.equal((await saidBy(name)).condition, 'Unknown NodeRebooted');
      }
      await assertKept('node-1');
    } finally {
      await annotate('-');
    }
  });

  it('leaves a Node alone that is NotReady', async () => {
    await start();
    await objects.setAgent('node-1', false);
    await objects.writeStatus('node-1', {
      conditions: [conditionOf('Ready', 'Unknown', 'NodeStatusUnknown')],
    });
    await pause(16);
    await assertKept(...NAMES);
  });

  it('leaves a Node alone whose agent answers, Ready or not', async () => {
    const agent = createServer((_, answer) => answer.end('ok\n')).listen(9477, '127.0.0.9');
    await once(agent, 'listening');
    try {
      await start();
      await objects.setAgent('node-1', false, '127.0.0.9');
      await pause(20);
      await assertKept(...NAMES);
    } finally {
      agent.close();
    }
    await withdrawn('node-1');
  });

  it('holds all when half of the agents are gone, says so, and replays nothing when they are back', async () => {
    const run = await start();
    await objects.setAgent('node-1', false);
    await objects.setAgent('node-2', false);
    await waitFor('the brake', 20_000, async () => run.brake.includes('TooManyLost') || undefined);
    await pause(14);
    await assertKept(...NAMES);
    assert.deepEqual(run.fleet.view.paused, ['node-1', 'node-2']);
    const held = [
      'get',
      'events',
      '-n',
      'gvisor-ready',
      '--field-selector',
      'reason=WithdrawalsPaused',
      '-o',
      'name',
    ];
    assert.notEqual(await cluster().kubectl(held), '');
    await objects.setAgent('node-2', true);
    await waitFor('the brake to lift', 10_000, async () => run.brake.length === 0 || undefined);
    await pause(6);
    await assertKept(...NAMES);
    await withdrawn('node-1');
    await assertKept('node-2', 'node-3');
  });

  it('withdraws once where two controllers run, and no more than one', async () => {
    const [one, two] = [await start(), await start()];
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
    await objects.setAgent('node-2', false);
    await pause(16);
    await assertKept('node-2', 'node-3');
    const counts = await Promise.all(
      [one, two].map(async ({ metrics, fleet }) => (await metrics.text(fleet.view)).body),
    );
    const sum = counts.map((text) => Number(/^gvisor_fleet_withdrawals_total (\d+)$/m.exec(text)?.[1]));
    assert.equal(
      sum.reduce((a, b) => a + b),
      1,
    );
  });

  it('withdraws nothing while the API server is away, nor when it is back', async () => {
    const run = await start();
    await cluster().controlPlane.stopDaemon('kube-apiserver', 'KILL');
    await waitFor('the controller to notice', 20_000, async () => !run.fleet.view.upToDate || undefined);
    await pause(15);
    assert.deepEqual(run.brake, ['ApiServerAway']);
    await cluster().startApiServer();
    await waitFor('the watches', 60_000, async () => run.fleet.view.upToDate || undefined);
    await waitFor('the brake to lift', 20_000, async () => run.brake.length === 0 || undefined);
    await pause(12);
    await assertKept(...NAMES);
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
  });

  it('times anew after a start, so a controller that was away withdraws nothing at once', async () => {
    await objects.setAgent('node-1', false);
    await pause(12);
    await start();
    await pause(3);
    await assertKept(...NAMES);
    await withdrawn('node-1');
  });

  it('withdraws nothing in a rolling update', async () => {
    const run = await start();
    for (const name of NAMES) {
      await objects.removeAgent(name);
      await objects.addAgent(name, 'two');
      await objects.setAgent(name, false);
      await waitFor('the brake', 5_000, async () => run.brake.includes('RollingOut') || undefined);
      await pause(12);
      await objects.setAgent(name, true);
    }
    await waitFor('the brake to lift', 20_000, async () => run.brake.length === 0 || undefined);
    await assertKept(...NAMES);
  });

  it('holds all when the DaemonSet is gone', async () => {
    const run = await start();
    const words = 'delete daemonset gvisor-ready-agent -n gvisor-ready --cascade=background --wait=false';
    await cluster().kubectl(words.split(' '));
    await objects.setAgent('node-1', false);
    await pause(16);
    assert.deepEqual(run.brake, ['AgentsGone']);
    await assertKept(...NAMES);
  });
});
