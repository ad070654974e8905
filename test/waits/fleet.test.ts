import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { useApiServer } from '../api/api-server.ts';
import { until, useFleet } from '../api/fleet-run.ts';

const cluster = useApiServer([]);

describe('fleet controllers with a real API server', () => {
  const { names, objects, start, withdrawn, assertStillProven } = useFleet(cluster);

  it('withdraws once with two replicas, which share the circuit breaker', async () => {
    const both = [await start(), await start()];
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    await objects().setAgent('node-2', false);
    for (const run of both)
      await until('a paused withdrawal', 30_000, () => run.fleet.view.paused.includes('node-2'));
    await assertStillProven('node-2', 'node-3');
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
    await until('the circuit breaker to open', 5_000, () => run.breaker.includes('ApiServerAway'));
    await cluster().startApiServer();
    await until('the watches to be up', 60_000, () => run.fleet.view.upToDate);
    await until('the circuit breaker to close', 20_000, () => run.breaker.length === 0);
    await assertStillProven(...names);
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
  });
});
