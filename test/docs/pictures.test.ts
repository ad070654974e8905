import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { PICTURES } from './pictures.ts';

const FOLDER = join(REPO, 'docs/images');
const MOST_BYTES = 150_000;

describe('the pictures of the documents', () => {
  it('are those that the script takes', () =>
    assert.deepEqual(readdirSync(FOLDER).sort(), Object.keys(PICTURES).sort()));

  for (const name of Object.keys(PICTURES)) {
    it(`${name} is a small PNG that a document shows`, () => {
      const bytes = readFileSync(join(FOLDER, name));
      assert.equal(bytes.subarray(1, 4).toString(), 'PNG');
      assert.ok(bytes.length < MOST_BYTES, `${bytes.length} bytes`);
      const documents = ['README.md', ...readdirSync(join(REPO, 'docs')).map((file) => `docs/${file}`)];
      const shown = documents.filter(
        (file) => file.endsWith('.md') && readFileSync(join(REPO, file), 'utf8').includes(`images/${name})`),
      );
      assert.ok(shown.length > 0, `${name} is in no document`);
    });
  }
});
