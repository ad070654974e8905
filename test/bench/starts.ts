import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { run } from '../../hack/run.ts';
import { PYTHON } from '../e2e/dispatcher-run.ts';
import { quantile } from './statistics.ts';

/** Of the dispatcher's setting `max_starting`. */
const LIMITS = process.env.LIMITS?.split(',') ?? ['none', '4', '16', 'learnt', 'none', 'learnt'];
const NAMESPACE = 'default';

/** Head of {@link measureStarts}. */
export const STARTS_HEAD = [
  'max_starting',
  'scheduled → running: median, p95',
  'call → running: median, p95',
  'all ended after',
  'not started',
];

/** What the script `test/dispatcher/start_many.py` prints of each evaluation, in seconds. */
type Evaluation =
  | { readonly error: string }
  | {
      readonly phase: string;
      readonly called: number;
      readonly scheduled: number;
      readonly ended: number;
    };

/** Many evaluations that one dispatcher starts at once on one node, under each limit. */
export async function measureStarts(cluster: Cluster, evaluations: number): Promise<string[][]> {
  const rows: string[][] = [];
  for (const limit of LIMITS) {
    const args = [NAMESPACE, imageName('workload'), String(evaluations), limit];
    const script = join(REPO, 'test/dispatcher/start_many.py');
    const env = { KUBECONFIG: cluster.kubeconfig, ...PYTHON };
    const said = await run(await ensurePython(), [script, ...args], { env, timeoutMs: 1_800_000 });
    rows.push([limit, ...summary(JSON.parse(said) as Evaluation[])]);
    await cluster.kubectl(['delete', 'pod', '--all', '-n', NAMESPACE, '--wait'], undefined, 600_000);
  }
  return rows;
}

function summary(evaluations: readonly Evaluation[]): string[] {
  const started = evaluations.flatMap((one) => ('error' in one ? [] : [one]));
  const pair = (values: readonly number[]) =>
    [0.5, 0.95].map((share) => `${(quantile(values, share) ?? 0).toFixed(1)}`).join(', ');
  const errors = evaluations.flatMap((one) => ('error' in one ? [one.error] : []));
  return [
    `${pair(started.map(({ scheduled }) => scheduled))} s`,
    `${pair(started.map(({ called }) => called))} s`,
    `${Math.max(...started.map(({ ended }) => ended)).toFixed(1)} s`,
    errors.length === 0 ? '0' : `${errors.length}: ${[...new Set(errors)].join(', ')}`,
  ];
}
