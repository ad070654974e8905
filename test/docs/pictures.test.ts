import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { panels } from '../monitoring/dashboard.ts';
import { DASHBOARD_PICTURES, recordedData } from './dashboard-pictures.ts';
import { PICTURES } from './pictures.ts';

const FOLDER = join(REPO, 'docs/images');
const MOST_BYTES = 150_000;
const NAMES = [...Object.keys(PICTURES), ...Object.keys(DASHBOARD_PICTURES), 'demo.svg'];

describe('the pictures of the documents', () => {
  it('are those that the scripts take', () => assert.deepEqual(readdirSync(FOLDER).sort(), NAMES.sort()));

  for (const name of NAMES) {
    it(`${name} is a small picture that a document shows`, () => {
      const bytes = readFileSync(join(FOLDER, name));
      assert.ok(
        bytes
          .subarray(0, 5)
          .toString('latin1')
          .includes(name.endsWith('.svg') ? '<svg' : 'PNG'),
      );
      assert.ok(bytes.length < MOST_BYTES, `${bytes.length} bytes`);
      const documents = ['README.md', ...readdirSync(join(REPO, 'docs')).map((file) => `docs/${file}`)];
      const shown = documents.filter(
        (file) => file.endsWith('.md') && readFileSync(join(REPO, file), 'utf8').includes(`images/${name})`),
      );
      assert.ok(shown.length > 0, `${name} is in no document`);
    });
  }

  it('of the dashboard show every panel, with the answers to its queries as they are now', async () => {
    const { answers } = await recordedData();
    for (const panel of await panels()) {
      const shown = Object.values(DASHBOARD_PICTURES).filter((shows) => shows(panel));
      assert.equal(shown.length, 1, panel.title);
      for (const { expr } of panel.targets)
        assert.ok(answers[expr]?.length, `${panel.title}: run test/docs/record-dashboard.ts for ${expr}`);
    }
  });
});
