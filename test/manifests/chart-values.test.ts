import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { chartReadme } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { HELM, renderChart } from './chart-objects.ts';

type Refused = { readonly values: object; readonly error: string };
const REFUSED = parse(await readFile(join(REPO, 'test/manifests/refused-values.yaml'), 'utf8')) as Refused[];

describe('the values of the chart', () => {
  it('are in the README, as `npm run chart` writes it', async () => {
    const { path, text } = await chartReadme();
    assert.equal(await readFile(path, 'utf8'), text);
  });
});

describe(`the schema of the values and their bounds, read by ${HELM}`, () => {
  for (const { values, error } of REFUSED) {
    it(`rejects ${JSON.stringify(values)}`, async () => {
      await assert.rejects(renderChart(values), ({ message }: Error) => message.includes(error));
    });
  }
});
