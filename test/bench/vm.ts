import { startCluster } from '../../cluster/start.ts';
import { pause } from '../../hack/run.ts';
import { deployWith, readinessOf, readMetrics, readNode, waitForNode } from '../e2e/agents.ts';
import { outcomesIn } from '../load/under-load.ts';

const NODE = 'node-1';
const PROOF_TIMEOUT_MS = 600_000;

/** Counts the outcomes of evaluations every ten seconds on a virtual machine. Rejects if they take over 30 s on average. */
export async function measureVm(name: string, evaluations: number): Promise<string[][]> {
  const cluster = await startCluster({
    name,
    nodes: [{ name: NODE, machine: 'vm' }],
    images: ['workload', 'agent'],
  });
  await deployWith(cluster, { PROOF_INTERVAL: '10s' });
  await waitForNode(cluster, NODE, ({ ready }) => ready === 'true', PROOF_TIMEOUT_MS);
  const { since } = readinessOf(await readNode(cluster, NODE));
  const count = async () => outcomesIn(await readMetrics(cluster, NODE));
  const sum = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((a, b) => a + b, 0);
  const begun = Date.now();
  let outcomes = await count();
  while (sum(outcomes) < evaluations) {
    if (Date.now() - begun > evaluations * 30_000)
      throw new Error(`Only ${sum(outcomes)} of ${evaluations} evaluations ended`);
    await pause(5);
    outcomes = await count().catch(() => outcomes);
  }
  const text = await readMetrics(cluster, NODE);
  const mean = (metric: string) =>
    Number(new RegExp(`^${metric}_sum(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]) /
    Number(new RegExp(`^${metric}_count(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  const after = readinessOf(await readNode(cluster, NODE));
  return [
    ['evaluations', String(evaluations), String(sum(outcomes))],
    [
      '  by outcome',
      'all proven',
      [...outcomes]
        .filter(([, n]) => n > 0)
        .map(([o, n]) => `${n} ${o}`)
        .join(', '),
    ],
    ['  mean boot', '', `${mean('gvisor_ready_sandbox_boot_seconds').toFixed(1)} s`],
    ['changes of the condition', '0', after.since === since ? '0' : 'some'],
  ];
}
