import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { MONITORING } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import { MINUTES, type Series } from './fleet.ts';

/** Expected result of a query: values by their labels, written as `{name="value"}`. */
export type Expected = Readonly<Record<string, number>>;

/** A time when all alerts have had time to fire. */
const AT = `${MINUTES - 15}m`;

/** Evaluates all rules over the series with promtool, and asserts the results of queries after 45 min. */
export async function assertQueries(
  series: Series,
  queries: Readonly<Record<string, Expected>>,
): Promise<void> {
  const tests = {
    rule_files: [join(REPO, MONITORING, 'rules.yaml')],
    tests: [
      {
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        promql_expr_test: Object.entries(queries).map(([expr, samples]) => ({
          expr,
          eval_time: AT,
          exp_samples: Object.entries(samples).map(([labels, value]) => ({ labels, value })),
        })),
      },
    ],
  };
  const { prometheus } = await ensureTools(['prometheus']);
  const directory = await mkdtemp('/tmp/gvisor-ready-promtool-');
  try {
    const file = join(directory, 'tests.yaml');
    await writeFile(file, JSON.stringify(tests)); // JSON is YAML
    assert.match(await run(join(prometheus, 'promtool'), ['test', 'rules', file]), /SUCCESS/);
  } finally {
    await rm(directory, { recursive: true });
  }
}
