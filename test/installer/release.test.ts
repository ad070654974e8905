import assert from 'node:assert/strict';
import { appendFile, mkdtemp, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { packRelease } from '../../hack/gvisor-release.ts';
import { copyRelease } from '../../installer/release/copy.ts';
import { damagedFiles, refuseDamage } from '../../installer/release/damage.ts';
import { GENERATIONS, generationOf } from '../../installer/release/generation.ts';
import { parseRelease, readRelease } from '../../installer/release/release.ts';
import { Host } from '../../lib/host/host.ts';
import { readRunscConfig } from '../../lib/runsc/config.ts';

const FLAGS = new Map([['platform', 'systrap']]);
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'release-'));
  await writeFile(join(directory, 'program'), 'a program\n');
});
after(() => rm(directory, { recursive: true }));

/** A release and an empty node. */
async function prepare() {
  const source = await mkdtemp(join(directory, 'source-'));
  const program = join(directory, 'program');
  const programs = {
    runsc: program,
    'containerd-shim-runsc-v1': program,
    'gvisor-bin/gvisor_sentry': program,
  };
  await packRelease(source, 'release-20260223.0', programs);
  const root = await mkdtemp(join(directory, 'node-'));
  const release = await readRelease(source);
  return { source, root, release, target: { root, generation: generationOf(release, FLAGS), flags: FLAGS } };
}

describe('stage', () => {
  it('installs a release with a runsc.toml that names its own runsc, and changes nothing the second time', async () => {
    const { source, root, release, target } = await prepare();
    assert.equal(await copyRelease(source, release, target), 5);
    const { generation } = target;
    const config = await readRunscConfig(new Host(root), generation.config);
    assert.deepEqual([config.binaryName, config.flags], [generation.runsc, FLAGS]);
    assert.deepEqual([config.fault, config.unknownKeys.size], [undefined, 0]);
    assert.equal(await copyRelease(source, release, target), 0);
  });

  const linked = (file: string) => rm(file).then(() => symlink('/etc/shadow', file));
  for (const [what, spoil, because] of [
    [
      'a program with another digest than in the manifest',
      (file: string) => appendFile(file, 'x'),
      /runsc" has another SHA-256 than in the manifest/,
    ],
    [
      'a link, which may lead to what only root can read',
      linked,
      /runsc" of the release is missing, or a link/,
    ],
  ] as const)
    it(`refuses ${what}, and leaves nothing`, async () => {
      const { source, root, release, target } = await prepare();
      await spoil(join(source, 'runsc'));
      await assert.rejects(copyRelease(source, release, target), because);
      assert.deepEqual(await readdir(join(root, GENERATIONS)), []);
    });

  it('repairs files that were edited or lost, by a rename that running pods survive', async () => {
    const { source, root, release, target } = await prepare();
    await copyRelease(source, release, target);
    const { directory, runsc, shim, config } = target.generation;
    const held = await open(join(root, runsc));
    await appendFile(join(root, runsc), 'x');
    await rm(join(root, shim));
    await appendFile(join(root, config), '#');
    const damaged = await damagedFiles(root, target.generation);
    assert.deepEqual(damaged.toSorted(), ['containerd-shim-runsc-v1', 'runsc', 'runsc.toml']);
    await assert.rejects(
      refuseDamage(root, target.generation),
      /is damaged or missing\. Install that release/,
    );
    assert.equal(await copyRelease(source, release, target), 3);
    assert.deepEqual(await damagedFiles(root, target.generation), []);
    assert.equal(await held.readFile('utf8'), 'a program\nx');
    await held.close();
    assert.deepEqual(await readdir(join(root, GENERATIONS)), [directory.split('/').at(-1)]);
  });
});

describe('parseRelease', () => {
  const fileAt = (path: string) => ({ path, sha256: 'a'.repeat(64) });
  const files = ['runsc', 'containerd-shim-runsc-v1'].map(fileAt);
  const good = { name: 'release-1', arch: 'x64', files };
  const bad: Readonly<Record<string, unknown>> = {
    'what is not JSON': undefined,
    'no object': null,
    'a name that is a path': { ...good, name: '../x' },
    'a file outside of the release': { ...good, files: [...files, fileAt('../../etc/passwd')] },
    'an absolute path': { ...good, files: [...files, fileAt('/etc/passwd')] },
    'no digest': { ...good, files: [...files, { path: 'x', sha256: '' }] },
    'no shim': { ...good, files: files.slice(0, 1) },
  };
  for (const [name, value] of Object.entries(bad))
    it(`refuses ${name}`, () => {
      const text = JSON.stringify(value) ?? '{';
      assert.throws(() => parseRelease(text, 'manifest.json'), { name: 'Refusal' });
    });
});
