import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { PLACES, packageVersion, withVersion } from '../../hack/version.ts';
import { VERSION } from '../../lib/base/version.ts';

const read = (file: string) => readFile(join(REPO, file), 'utf8');

describe('the version', () => {
  for (const [file, before] of PLACES) {
    it(`in ${file} is that of package.json (npm version writes it)`, async () => {
      const text = await read(file);
      assert.equal(text, withVersion(text, before, await packageVersion()));
    });
  }

  it('is that of the agent and its image, and differs from the image for upgrades', async () => {
    assert.equal(VERSION, await packageVersion());
    assert.equal(imageName('agent'), `localhost/gvisor-ready:${VERSION}`);
    assert.notEqual(imageName('agent-next'), imageName('agent'));
  });

  it('is in no other file but tests and the changelog', async () => {
    const args = [
      'grep',
      '-lE',
      'gvisor-ready:[0-9]+\\.[0-9]+\\.[0-9]+',
      '--',
      ':!test',
      ':!charts/gvisor-ready/tests',
      ':!CHANGELOG.md',
    ];
    const found = (await run('git', args, { cwd: REPO })).trim().split('\n');
    const known = new Set(PLACES.map(([file]) => file));
    assert.deepEqual(
      found.filter((file) => !known.has(file)),
      [],
    );
  });

  it('replaces another version', () => {
    assert.equal(withVersion("VERSION = '0.0.1';", /(VERSION = ')[^']+/g, '1.2.3'), "VERSION = '1.2.3';");
    assert.throws(() => withVersion('nothing', /(VERSION = ')[^']+/g, '1.2.3'));
  });
});
