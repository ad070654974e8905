import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RARE } from '../rare.ts';
import { alertsOf, readRules } from './alerts.ts';
import { CAUSES, type Cause, withoutKube } from './causes.ts';
import { assertQueries } from './promtool.ts';

/** The labels of `alert`, `alert node`, `alert cluster` or `alert cluster node`. */
function labelsOf(text: string): string {
  const [alertname = '', ...place] = text.split(' ');
  const node = place.find((word) => word.startsWith('node-'));
  const cluster = place.find((word) => word !== node);
  const labels = Object.entries({ alertname, cluster, node }).filter(([, value]) => value !== undefined);
  return `{${labels.map(([name, value]) => `${name}="${value}"`).join(', ')}}`;
}

/** Asserts that exactly the expected alerts fire. */
async function check({ series, fires }: Cause): Promise<void> {
  const firing = 'count by (alertname, cluster, node) (ALERTS{alertstate="firing"})';
  const expected = Object.fromEntries(fires.map((text) => [labelsOf(text), 1]));
  await assertQueries(series, { [firing]: expected });
}

describe('a root cause', async () => {
  const critical = alertsOf(await readRules()).filter(({ labels }) => labels.severity === 'critical');
  const pages = critical.map(({ alert }) => alert);

  const rows = CAUSES.flatMap((each) => {
    const alone = { ...each, series: withoutKube(each.series), fires: each.withoutKube ?? each.fires };
    const isTold = each.withoutKube !== undefined || RARE;
    return isTold ? [each, { ...alone, cause: `${each.cause}, without kube-state-metrics` }] : [each];
  });
  for (const each of rows) {
    const { cause, fires } = each;
    it(`${cause}: ${fires.join(', ') || 'nothing fires'}`, async () => {
      const paged = fires.filter((text) => pages.includes(text.split(' ')[0] ?? ''));
      assert.ok(paged.length <= 1, `one page: ${paged.join(', ')}`);
      await check(each);
    });
  }

  it('fails this test for a missing alert and for an additional one', async () => {
    const [healthy, broken] = CAUSES;
    assert.ok(healthy !== undefined && broken !== undefined);
    await assert.rejects(check({ ...broken, fires: [] }), /FAILED/);
    await assert.rejects(check({ ...healthy, fires: ['GVisorAgentsMissing'] }), /FAILED/);
  });
});
