import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { waitFor } from '../../hack/run.ts';
import { useApiServer } from '../api/api-server.ts';
import { conditionOf, FleetObjects, READY } from '../api/fleet-objects.ts';
import { FleetRun } from '../api/fleet-run.ts';
import { readNode, saidOf } from '../e2e/agents.ts';

const cluster = useApiServer([]);
const NAMES = ['node-1', 'node-2', 'node-3'] as const;

const stateOf = async (name: string) => saidOf(await readNode(cluster(), name));
const until = (what: string, timeoutMs: number, holds: () => boolean | Promise<boolean>) =>
  waitFor(what, timeoutMs, async () => (await holds()) || undefined);
const withdrawn = (name: string) =>
  until(`the label of ${name} to be withdrawn`, 40_000, async () => (await stateOf(name)).ready === 'false');

describe('fleet controllers with a real API server', () => {
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

  it('withdraws once with two controllers, which share the circuit breaker', async () => {
    const both = [await start(), await start()];
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
    await objects.setAgent('node-2', false);
    for (const run of both)
      await until('a paused withdrawal', 30_000, () => run.fleet.view.paused.includes('node-2'));
    await assertKept('node-2', 'node-3');
    const bodies = await Promise.all(both.map(({ metrics, fleet }) => metrics.text(fleet.view)));
    const counts = bodies.map(({ body }) =>
      Number(/^gvisor_fleet_withdrawals_total (\d+)$/m.exec(body)?.[1]),
    );
    assert.deepEqual(counts.toSorted(), [0, 1]);
  });

  it('withdraws nothing during an outage of the API server or right after it', async () => {
    const run = await start();
    await cluster().controlPlane.stopDaemon('kube-apiserver', 'KILL');
    await until('the watches to be down', 20_000, () => !run.fleet.view.upToDate);
    assert.deepEqual(run.breaker, ['ApiServerAway']);
    await cluster().startApiServer();
    await until('the watches to be up', 60_000, () => run.fleet.view.upToDate);
    await until('the circuit breaker to close', 20_000, () => run.breaker.length === 0);
    await assertKept(...NAMES);
    await objects.setAgent('node-1', false);
    await withdrawn('node-1');
  });
});
