import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { RULES } from '../../hack/prometheus-rules.ts';
import { run } from '../../hack/run.ts';
import { ensureTools } from '../../hack/tools.ts';
import { alertsOf, ruleFiles } from '../monitoring/alerts.ts';
import { CAUSES } from '../monitoring/causes.ts';
import type { Cause } from '../monitoring/causes-of-clusters.ts';
import { MINUTES } from '../monitoring/fleet.ts';

let promtool: string;
before(async () => {
  promtool = join((await ensureTools(['prometheus'])).prometheus, 'promtool');
});

/** When every alert that will fire does. */
const AT = `${MINUTES - 15}m`;

/** A file of promtool's tests (JSON is YAML): with these series, the alerts that fire are these and no others. */
function unitTests({ cause, series, fires }: Cause): object {
  return {
    rule_files: Object.keys(RULES).map((folder) => join(REPO, folder, 'rules.yaml')),
    evaluation_interval: '1m',
    tests: [
      {
        name: cause,
        interval: '1m',
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        promql_expr_test: [
          {
            expr: 'count by (alertname, cluster, node) (ALERTS{alertstate="firing"})',
            eval_time: AT,
            exp_samples: fires.map((words) => ({ labels: labelsOf(words.split(' ')), value: 1 })),
          },
        ],
      },
    ],
  };
}

/** The labels that stand for `alert`, `alert node`, `alert cluster` or `alert cluster node`. */
function labelsOf([alertname = '', ...place]: readonly string[]): string {
  const node = place.find((word) => word.startsWith('node-'));
  const cluster = place.find((word) => word !== node);
  const labels = Object.entries({ alertname, cluster, node }).filter(([, value]) => value !== undefined);
  return `{${labels.map(([name, value]) => `${name}="${value}"`).join(', ')}}`;
}

async function check(cause: Cause): Promise<void> {
  const folder = await mkdtemp('/tmp/gvisor-ready-causes-');
  try {
    const file = join(folder, 'tests.yaml');
    await writeFile(file, JSON.stringify(unitTests(cause)));
    assert.match(await run(promtool, ['test', 'rules', file]), /SUCCESS/);
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('one root cause', async () => {
  const critical = alertsOf(await ruleFiles()).filter(({ labels }) => labels.severity === 'critical');
  const pages = critical.map(({ alert }) => alert);

  for (const each of CAUSES) {
    const { cause, fires } = each;
    it(`${cause}: ${fires.join(', ') || 'nothing fires'}`, async () => {
      const paged = fires.filter((words) => pages.includes(words.split(' ')[0] ?? ''));
      assert.ok(paged.length <= 1, `one page: ${paged.join(', ')}`);
      await check(each);
    });
  }

  it('would be told of an alert that is missing, and of one too many', async () => {
    const [well, broken] = CAUSES;
    assert.ok(well !== undefined && broken !== undefined);
    await assert.rejects(check({ ...broken, fires: [] }), /FAILED/);
    await assert.rejects(check({ ...well, fires: ['GVisorAgentsMissing'] }), /FAILED/);
  });
});
