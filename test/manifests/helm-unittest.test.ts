import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CHART, copyManifests } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

it('the helm-unittest suites of the chart pass', async () => {
  const tools = await ensureTools(['helm-unittest']);
  const program = join(tools['helm-unittest'], 'helm-unittest');
  await copyManifests();
  const { length } = globSync('tests/**/*.yaml', { cwd: join(REPO, CHART) });
  assert.notEqual(length, 0);
  assert.match(
    await run(program, ['--strict', CHART], { cwd: REPO }),
    new RegExp(`^Test Suites: ${length} passed, ${length} total$`, 'm'),
  );
});
