import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, healAndWait } from '../../cluster/faults/break-node.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { readMetrics } from '../e2e/agents.ts';
import { deletePods } from '../e2e/e2e-cluster.ts';
import { deployFleet, removeFleet } from '../e2e/fleet-cluster.ts';
import { applyAgents, removeOutside, runOutside, useMonitoredCluster } from '../e2e/monitored-cluster.ts';
import { panels, substituted, type Target } from '../monitoring/dashboard.ts';

const monitored = useMonitoredCluster();
const PANELS = await panels();

/** The number of points that a panel's query returns. */
async function points({ expr, instant }: Target): Promise<number> {
  const { prometheus } = monitored();
  if (instant) return (await prometheus.query(substituted(expr))).length;
  return (await prometheus.range(substituted(expr), 60)).reduce((sum, { values }) => sum + values.length, 0);
}

describe('the dashboard, on a real Prometheus that scrapes real agents', () => {
  before(async () => {
    await deployFleet(monitored().cluster);
    await applyAgents(monitored().cluster, {}, { HANDLERS: 'runsc,runsc-debug' });
    await breakAndWait(monitored().cluster, 'node-1', 'shim-missing');
    await healAndWait(monitored().cluster, 'node-1');
    await runOutside(monitored().cluster);
    await runPod(
      monitored().cluster,
      'inside',
      evaluationPod('inside', { gvisor: true, spec: { nodeName: 'node-1' } }),
    );
  });
  after(async () => {
    await removeFleet(monitored().cluster);
    await removeOutside(monitored().cluster);
    await deletePods(monitored().cluster, 'inside');
  });

  for (const { title, targets } of PANELS)
    for (const target of targets)
      it(`"${title}" has data for its query ${target.refId}`, async () => {
        await waitFor(`data of ${target.expr}`, 60_000, async () => (await points(target)) > 0);
      });
});

describe('the metrics of a real agent', () => {
  it('pass promtool check metrics', async () => {
    const { prometheus } = await ensureTools(['prometheus']);
    const text = await readMetrics(monitored().cluster, 'node-1');
    const own = text.split('\n').filter((line) => /^(# \w+ )?gvisor_/.test(line));
    await run(join(prometheus, 'promtool'), ['check', 'metrics'], { input: `${own.join('\n')}\n` });
  });

  it('have the labels of docs/metrics.md', async () => {
    const rows = (await readFile(join(REPO, 'docs/metrics.md'), 'utf8')).matchAll(
      /^\| `(gvisor_\w+)` \| \w+ \| (.*) \| .* \|$/gm,
    );
    const documented = new Map(
      [...rows].map(([, name = '', labels = '']) => [
        name,
        [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
      ]),
    );
    const text = await readMetrics(monitored().cluster, 'node-1');
    for (const [, name = '', labels = ''] of text.matchAll(
      /^(gvisor_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$/gm,
    )) {
      const used = [...labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)].map(([, label]) => label);
      assert.deepEqual(
        used.filter((label) => label !== 'le'),
        documented.get(name) ?? [],
        name,
      );
    }
  });
});
