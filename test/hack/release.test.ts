import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { pack } from '../../hack/plugin.ts';
import { run, runAll } from '../../hack/run.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'release-'));
});
after(() => rm(directory, { recursive: true }));

it('packs the same archive whatever the times, modes and order of its files', async () => {
  const archives: Buffer[] = [];
  for (const [time, mode, names] of [
    [1_000, 0o600, ['a', 'b']],
    [2_000, 0o664, ['b', 'a']],
  ] as const) {
    const source = join(directory, `source-${time}`);
    await mkdir(join(source, 'files'), { recursive: true });
    for (const name of names) {
      await writeFile(join(source, 'files', name), name);
      await chmod(join(source, 'files', name), mode);
      await utimes(join(source, 'files', name), time, time);
    }
    const archive = join(directory, `${time}.tar.gz`);
    await pack(archive, source, ['files']);
    archives.push(await readFile(archive));
    assert.equal(await run('tar', ['-tzf', archive]), 'files/\nfiles/a\nfiles/b\n');
  }
  assert.deepEqual(archives[0], archives[1]);
});

it('refuses a release without an image, a digest and a repository', async () => {
  for (const args of [[], ['--image', 'x', '--repository', 'y'], ['--image', 'x', '--digest', 'sha256:0']]) {
    const { code, stderr } = await runAll(process.execPath, ['--import', 'tsx', 'hack/release.ts', ...args], {
      cwd: REPO,
    });
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^Name what is released: npm run release -- --image NAME/);
  }
});
