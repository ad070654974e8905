import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { VERSION } from '../../agent/version.ts';
import { imageName } from '../../cluster/images.ts';
import { REPO } from '../../hack/paths.ts';

it('is one version in the sources, the package, the image and the manifests', async () => {
  const read = (file: string) => readFile(join(REPO, file), 'utf8');
  assert.equal((JSON.parse(await read('package.json')) as { version: string }).version, VERSION);
  assert.ok((await read('Dockerfile')).includes(`image.version="${VERSION}"`));
  assert.equal(imageName('agent'), `localhost/gvisor-ready:${VERSION}`);
  for (const folder of ['base', 'components/fleet'])
    assert.ok((await read(`manifests/${folder}/kustomization.yaml`)).includes(`newTag: ${VERSION}`));
});
