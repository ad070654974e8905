import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildInstaller } from '../../hack/installer.ts';
import { run, runAll } from '../../hack/run.ts';

/** What every distribution with glibc and libstdc++ has. */
const LIBRARIES = /^(linux-vdso|ld-linux-[\w-]+|lib(c|dl|gcc_s|m|pthread|rt|stdc\+\+))\.so\.\d+$/;

describe('the installer for hosts', () => {
  let directory = '';
  let program = '';

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'installer-'));
    program = join(directory, 'gvisor-ready-install');
    await buildInstaller(program);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  /** Runs it where no other program is found. */
  const alone = (...words: readonly string[]) =>
    runAll(program, words, { cwd: directory, env: { PATH: directory } });

  it('needs no library but those of C and C++', async () => {
    const names = [...(await run('ldd', [program])).matchAll(/^\s+(?:\/\S*\/)?([^\s/]+)/gm)].map(
      ([, name]) => name,
    );
    assert.deepEqual([names.length > 3, names.filter((name = '') => !LIBRARIES.test(name))], [true, []]);
  });

  it('runs where there is no Node and no shell', async () => {
    const { code, stdout } = await alone('--help');
    assert.deepEqual([code, /^ {2}stage \[options\]/m.test(stdout)], [0, true]);
  });
});
