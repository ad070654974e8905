import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import type { Prometheus, SampleSeries } from '../../cluster/control-plane/prometheus.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { breakAndWait, evaluationPod, healAndWait, runPod } from '../../cluster/story.ts';
import {
  deployFleet,
  GVISOR_NODES,
  keepAgentsAway,
  letAgentsReturn,
  waitForBrake,
} from '../e2e/fleet-cluster.ts';
import { applyAgents, monitor, runOutside } from '../e2e/monitored-cluster.ts';
import { filledIn, panels } from '../monitoring/dashboard.ts';
import { DASHBOARD_DATA, type DashboardData } from './dashboard-data.ts';

/** Lets some minutes of a fleet pass: a pod outside, faults, repairs, and agents that are gone. */
async function live(cluster: Cluster): Promise<void> {
  for (const name of ['solver-1', 'solver-2', 'solver-3'])
    await runPod(cluster, name, evaluationPod(name, { gvisor: true }));
  await sleep(40_000);
  await breakAndWait(cluster, 'node-1', 'shim-missing');
  await sleep(20_000);
  await healAndWait(cluster, 'node-1');
  await runOutside(cluster);
  await sleep(20_000);
  await keepAgentsAway(cluster, ...GVISOR_NODES);
  await waitForBrake(cluster, 'TooManyLost', 120_000);
  await letAgentsReturn(cluster, ...GVISOR_NODES);
  await waitForBrake(cluster, undefined, 180_000);
  await sleep(20_000);
  await breakAndWait(cluster, 'node-2', 'runsc-missing');
  await sleep(20_000);
}

/** What the panels' queries give now, and gave in the last `seconds`. */
async function answers(prometheus: Prometheus, seconds: number): Promise<DashboardData> {
  const answer = async (expr: string, instant: boolean): Promise<readonly SampleSeries[]> => {
    const query = filledIn(expr, `${seconds}s`);
    if (!instant) return prometheus.range(query, seconds, 10);
    return (await prometheus.query(query)).map(({ metric, value }) => ({ metric, values: [value] }));
  };
  const targets = (await panels()).flatMap((panel) => panel.targets);
  const all = targets.map(async ({ expr, instant }) => [expr, await answer(expr, instant)] as const);
  return { end: Date.now() / 1_000, seconds, answers: Object.fromEntries(await Promise.all(all)) };
}

/**
 * Records what the dashboard's queries give on a real cluster, in test/fixtures: the data of its pictures. It takes some
 * minutes. Run it with `npx tsx test/docs/record-dashboard.ts`.
 */
const name = process.argv[2] ?? 'panels';
try {
  const cluster = await startCluster({ name, images: ['workload', 'agent'] });
  await deployFleet(cluster, { AGENT_TIMEOUT: '20s', CIRCUIT_BREAKER_WINDOW: '40s', RECOVERY_DELAY: '10s' });
  await applyAgents(cluster);
  const prometheus = await monitor(cluster);
  const begun = Date.now();
  await live(cluster);
  const data = await answers(prometheus, Math.round((Date.now() - begun) / 1_000));
  await writeFile(DASHBOARD_DATA, `${JSON.stringify(data)}\n`);
} finally {
  await removeCluster(name);
}
