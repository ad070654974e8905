import assert from 'node:assert/strict';
import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildInstaller } from '../../hack/installer.ts';
import { run, runAll } from '../../hack/run.ts';

describe('the installer for hosts', () => {
  let root = '';

  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'installer-'));
    await chmod(root, 0o755);
    await buildInstaller(join(root, 'gvisor-ready-install'));
    const libraries = (await run('ldd', [join(root, 'gvisor-ready-install')])).matchAll(/(\/\S+) \(0x/g);
    for (const [, library = ''] of libraries) {
      await mkdir(join(root, dirname(library)), { recursive: true });
      await cp(library, join(root, library), { dereference: true });
    }
  });
  after(() => rm(root, { recursive: true, force: true }));

  /** Runs it where there is no other file than its libraries. */
  const alone = (...words: readonly string[]) =>
    runAll('unshare', ['--map-root-user', 'chroot', root, '/gvisor-ready-install', ...words], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    });

  it('runs where there is no Node and no shell', async () => {
    const { code, stdout } = await alone('--help');
    assert.deepEqual([code, /^ {2}print \[options\] <platform>/m.test(stdout)], [0, true]);
  });

  it('refuses where there is no release', async () => {
    const { code, stderr } = await alone('print', 'k3s');
    assert.deepEqual(
      [code, stderr],
      [
        1,
        'gvisor-ready-install: release: Cannot read the release\'s manifest "/release/manifest.json": ENOENT\n',
      ],
    );
  });
});
