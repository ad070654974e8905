import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import { RULES } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import { MINUTES, type Series } from './fleet.ts';

/** What a query gives: values by their labels, written as `{name="value"}`. */
export type Expected = Readonly<Record<string, number>>;

/** When a fleet's alerts have all had their time to fire. */
const AT = `${MINUTES - 15}m`;

/**
 * Lets promtool evaluate every rule of the components over these series, and asserts what queries give after three
 * quarters of an hour.
 */
export async function assertQueries(
  promtool: string,
  series: Series,
  queries: Readonly<Record<string, Expected>>,
): Promise<void> {
  const tests = {
    rule_files: Object.keys(RULES).map((folder) => join(REPO, folder, 'rules.yaml')),
    evaluation_interval: '1m',
    tests: [
      {
        interval: '1m',
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        promql_expr_test: Object.entries(queries).map(([expr, samples]) => ({
          expr,
          eval_time: AT,
          exp_samples: Object.entries(samples).map(([labels, value]) => ({ labels, value })),
        })),
      },
    ],
  };
  const folder = await mkdtemp('/tmp/gvisor-ready-promtool-');
  try {
    const file = join(folder, 'tests.yaml');
    await writeFile(file, JSON.stringify(tests)); // JSON is YAML
    assert.match(await run(promtool, ['test', 'rules', file]), /SUCCESS/);
  } finally {
    await rm(folder, { recursive: true });
  }
}
