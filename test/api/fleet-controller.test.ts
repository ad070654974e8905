import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { waitFor } from '../../hack/run.ts';
import { DOMAIN, readNode, saidOf } from '../e2e/agents.ts';
import { useApiServer } from './api-server.ts';
import { conditionOf, FleetObjects, READY } from './fleet-objects.ts';
import { FleetRun } from './fleet-run.ts';

const cluster = useApiServer([]);
const NAMES = ['node-1', 'node-2', 'node-3'] as const;

const stateOf = async (name: string) => saidOf(await readNode(cluster(), name));
const until = (what: string, timeoutMs: number, holds: () => boolean | Promise<boolean>) =>
  waitFor(what, timeoutMs, async () => (await holds()) || undefined);
const withdrawn = (name: string) =>
  until(`the label of ${name} to be withdrawn`, 40_000, async () => (await stateOf(name)).ready === 'false');

/** Real writes and watches; when a label is withdrawn is decided by decide.ts, whose tests have virtual time. */
describe('the fleet controller on a real API server, with its own token', () => {
  let objects: FleetObjects;
  let runs: FleetRun[] = [];

  const start = async () => {
    const run = await FleetRun.start(cluster());
    runs.push(run);
    await until('the controller to list the fleet', 20_000, () => run.fleet.ready);
    return run;
  };
  const assertKept = async (...names: readonly string[]) => {
    for (const name of names) {
      const { ready, condition } = await stateOf(name);
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

  it('withdraws the label of a lost agent, with a condition, an event and metrics', async () => {
    const run = await start();
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
    assert.equal((await stateOf('node-1')).condition, 'Unknown AgentLost');
    await assertKept('node-2', 'node-3');
    const query = ['get', 'events', '--field-selector', 'reason=AgentLost'];
    const event = await waitFor('the event', 10_000, async () => {
      const message = await cluster().kubectl([...query, '-o', 'jsonpath={.items[0].message}']);
      return message || undefined;
    });
    assert.match(event, /^no agent on this node was Ready for 10 s.* What to do: See why the agent's pod/);
    const { body } = await run.metrics.text(run.fleet.view);
    assert.match(body, /^gvisor_fleet_withdrawals_total 1$/m);
    assert.match(body, /^gvisor_fleet_nodes\{status="Unknown",reason="AgentLost"\} 1$/m);
    assert.match(body, /^gvisor_fleet_api_requests_total\{verb="PATCH",code="200"\} 1$/m);
  });

  it('pauses withdrawals when half of the agents are lost, except those of an earlier boot', async () => {
    const run = await start();
    const annotate = (value: string) =>
      cluster().kubectl(['annotate', 'nodes', ...NAMES, '--overwrite', `${DOMAIN}/proven-boot${value}`]);
    try {
      await annotate('=boot-1');
      await objects.setAgent('node-1', false);
      await objects.setAgent('node-2', false);
      await until('two paused withdrawals', 30_000, () => run.fleet.view.paused.length === 2);
      assert.deepEqual(run.breaker, ['TooManyLost']);
      await assertKept(...NAMES);
      const events = ['get', 'events', '-n', 'gvisor-ready', '--field-selector', 'reason=WithdrawalsPaused'];
      assert.notEqual(await cluster().kubectl([...events, '-o', 'name']), '');
      await objects.writeStatus('node-1', { nodeInfo: { bootID: 'boot-1' } });
      await objects.writeStatus('node-2', {
        nodeInfo: { bootID: 'boot-2' },
        conditions: [conditionOf('Ready', 'False', 'KubeletNotReady')],
      });
      await withdrawn('node-2');
      assert.equal((await stateOf('node-2')).condition, 'Unknown NodeRebooted');
      await assertKept('node-1', 'node-3');
    } finally {
      await annotate('-');
    }
  });
});
