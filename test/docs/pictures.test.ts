import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { PICTURE } from '../pictures/pictures.ts';

const DIRECTORY = join(REPO, 'docs/images');
const MAX_BYTES = 150_000;
const NAMES = [PICTURE, 'demo-node.svg', 'demo.svg', 'status.svg', 'why.svg'];

describe('docs/images', () => {
  it('holds exactly the pictures that the scripts make', () =>
    assert.deepEqual(readdirSync(DIRECTORY).sort(), NAMES.sort()));

  for (const name of NAMES) {
    it(`${name} is under 150 kB and shown in a document`, () => {
      const bytes = readFileSync(join(DIRECTORY, name));
      assert.ok(
        bytes
          .subarray(0, 5)
          .toString('latin1')
          .includes(name.endsWith('.svg') ? '<svg' : 'PNG'),
      );
      assert.ok(bytes.length < MAX_BYTES, `${bytes.length} bytes`);
      const documents = ['README.md', ...readdirSync(join(REPO, 'docs')).map((file) => `docs/${file}`)];
      const shown = documents.filter(
        (file) => file.endsWith('.md') && readFileSync(join(REPO, file), 'utf8').includes(`images/${name})`),
      );
      assert.ok(shown.length > 0, `${name} is not shown in any document`);
    });
  }
});
