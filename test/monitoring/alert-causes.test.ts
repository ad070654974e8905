import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools.ts';
import { alertsOf, ruleFiles } from './alerts.ts';
import { CAUSES } from './causes.ts';
import type { Cause } from './causes-of-clusters.ts';
import { assertQueries } from './promtool.ts';

let promtool: string;
before(async () => {
  promtool = join((await ensureTools(['prometheus'])).prometheus, 'promtool');
});

/** The labels that stand for `alert`, `alert node`, `alert cluster` or `alert cluster node`. */
function labelsOf(words: string): string {
  const [alertname = '', ...place] = words.split(' ');
  const node = place.find((word) => word.startsWith('node-'));
  const cluster = place.find((word) => word !== node);
  const labels = Object.entries({ alertname, cluster, node }).filter(([, value]) => value !== undefined);
  return `{${labels.map(([name, value]) => `${name}="${value}"`).join(', ')}}`;
}

/** Asserts that these alerts fire, and no others. */
async function check({ series, fires }: Cause): Promise<void> {
  const firing = 'count by (alertname, cluster, node) (ALERTS{alertstate="firing"})';
  const expected = Object.fromEntries(fires.map((words) => [labelsOf(words), 1]));
  await assertQueries(promtool, series, { [firing]: expected });
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
