import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { pack, writeKrew } from '../../hack/plugin.ts';
import { ensurePython } from '../../hack/python.ts';
import { writeDispatcher } from '../../hack/release.ts';
import { patient, run, runAll } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';

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
    const { code, stderr } = await runAll(process.execPath, ['hack/release.ts', ...args], { cwd: REPO });
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^Name what is released: npm run release -- --image NAME/);
  }
});

it('has a plugin that krew installs from the archive of its manifest', {
  timeout: patient(900_000),
}, async () => {
  const { krew, kubernetes } = await ensureTools(['krew', 'kubernetes']);
  const files = await writeKrew('https://example.org/owner/gvisor-ready', join(directory, 'plugin'));
  const [manifest, archive] = ['.yaml', '.tar.gz'].map((end) => files.find((file) => file.endsWith(end)));
  const root = join(directory, 'krew');
  const env = {
    ...process.env,
    KREW_ROOT: root,
    PATH: `${join(root, 'bin')}:${kubernetes}:${process.env.PATH}`,
  };
  await run(join(krew, 'krew'), ['install', `--manifest=${manifest}`, `--archive=${archive}`], { env });
  assert.equal(await run('kubectl', ['gvisor-ready', '--version'], { env }), `${VERSION}\n`);
});

describe('the dispatcher', { timeout: patient(300_000) }, () => {
  const name = `gvisor_dispatch-${VERSION}`;
  const packages = [`${name}-py3-none-any.whl`, `${name}.tar.gz`] as const;
  let build = '';
  before(async () => {
    build = join(directory, 'build');
    await writeDispatcher(build, 'https://example.org/owner/gvisor-ready');
  });

  it('has a page whose links lead to the repository of the release', async () => {
    const read = `import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]).decode())`;
    const metadata = `${name}.dist-info/METADATA`;
    const page = await run('python3', ['-c', read, join(build, packages[0]), metadata]);
    assert.doesNotMatch(page, /OWNER|\]\((?!https:|#)/);
    const docs = `https://example.org/owner/gvisor-ready/blob/v${VERSION}/docs`;
    assert.ok(page.includes(`](${docs}/fleet.md#when-a-label-goes)`), page);
    assert.match(page, /^Project-URL: Issues, https:\/\/example\.org\/owner\/gvisor-ready\/issues$/m);
    assert.match(page, /^Author: owner$/m);
  });

  // test/nightly/evaluations.test.ts installs the wheel.
  it('is imported and run after `pip install` of its sdist into a new environment', async () => {
    const venv = join(directory, 'venv');
    await run('python3', ['-m', 'venv', venv]);
    // Offline: the dependencies, and the setuptools that builds an sdist, are those of the tests' environment.
    const query = 'import sysconfig; print(sysconfig.get_path("purelib"))';
    const dependencies = (await run(await ensurePython(), ['-c', query])).trim();
    const env = { ...process.env, PYTHONPATH: dependencies };
    const options = ['--quiet', '--no-index', '--no-deps', '--no-build-isolation'];
    const python = join(venv, 'bin/python');
    const install = ['-m', 'pip', 'install', ...options, join(build, packages[1])];
    await run(python, install, { env, timeoutMs: 120_000 });
    const script = `import gvisor_dispatch, importlib.metadata as m
print(gvisor_dispatch.__file__, gvisor_dispatch.Policy.PREFER.value, m.version("gvisor-dispatch"), m.metadata("gvisor-dispatch")["License-Expression"])`;
    const seen = await run(python, ['-c', script], { env, cwd: directory });
    assert.ok(seen.startsWith(venv), seen);
    assert.match(seen, new RegExp(` prefer ${VERSION.replaceAll('.', '\\.')} Apache-2\\.0\n$`));
    assert.match(await run(join(venv, 'bin/gvisor-dispatch'), ['--help'], { env }), /exit codes/);
  });
});
