import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run, runAll } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import PACKAGE from '../../package.json' with { type: 'json' };
import { isRewriting } from '../runner/rewriting.ts';

const INPUTS = {
  image: 'registry.example.org/team/gvisor-ready',
  digest: `sha256:${'1'.repeat(64)}`,
  installerDigest: `sha256:${'2'.repeat(64)}`,
  repository: 'https://git.example.org/team/gvisor-ready',
};

describe('a release', { timeout: patient(600_000) }, () => {
  let directory = '';
  let files: readonly string[] = [];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'release-'));
    const { helm, kubernetes } = await ensureTools(['helm', 'kubernetes']);
    const env = { ...process.env, PATH: `${helm}:${kubernetes}:${process.env.PATH}` };
    const script = `import { writeRelease } from './hack/release.ts';
      await writeRelease('${directory}', ${JSON.stringify(INPUTS)});`;
    const options = { cwd: REPO, env, timeoutMs: patient(500_000) };
    await run(process.execPath, ['--input-type=module', '-e', script], options);
    files = (await readdir(directory)).sort();
    for (const file of files) {
      const into = join(directory, `${file}.unpacked`);
      if (!/\.(tgz|tar\.gz|whl)$/.test(file)) continue;
      await mkdir(into);
      if (file.endsWith('.whl')) await run('python3', ['-m', 'zipfile', '-e', join(directory, file), into]);
      else await run('tar', ['-xzf', join(directory, file), '-C', into]);
    }
  });
  after(() => rm(directory, { recursive: true, force: true }));

  const read = (file: string) => readFile(join(directory, file), 'utf8');

  /** Paths below the directory of files that have what grep's arguments say. */
  const grep = async (...args: readonly string[]) => {
    const { stdout } = await runAll('grep', ['-rl', ...args, '.'], { cwd: directory });
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  };

  it('says nowhere that somebody else would own it', async () => {
    const { repository } = PACKAGE;
    assert.deepEqual([await grep('-Iw', 'OWNER'), await grep('-Fa', repository)], [[], []]);
  });

  it('has the files of RELEASE.md, of these sizes within a quarter (WRITE_SIZES=yes writes them)', async () => {
    const built: (readonly [file: string, kB: number])[] = [];
    for (const file of files) {
      const { size } = await stat(join(directory, file));
      built.push([file.replace(VERSION, 'VERSION'), Math.ceil(size / 1_000)]);
    }
    const path = join(REPO, 'RELEASE.md');
    if (isRewriting('WRITE_SIZES')) {
      const rows = built.map(([file, kB]) => `| \`${file}\` | ${kB} |\n`).join('');
      const before = await readFile(path, 'utf8');
      await writeFile(path, before.replace(/(?<=^\| file \| kB \|\n.*\n)(\| .*\n)*/m, rows));
    }
    const page = await readFile(path, 'utf8');
    const shown = new Map(
      [...page.matchAll(/^\| `(\S+)` \| (\d+) \|$/gm)].map(([, file = '', kB]) => [file, Number(kB)]),
    );
    assert.deepEqual(
      [...shown.keys()],
      built.map(([file]) => file),
    );
    for (const [file, kB] of built) {
      const expected = shown.get(file) ?? 0;
      assert.ok(Math.abs(kB - expected) <= 1 + expected / 4, `${file}: ${kB} kB instead of ${expected}`);
    }
  });

  it("has a chart whose page shows the release's image", async () => {
    const page = await read(`gvisor-ready-${VERSION}.tgz.unpacked/gvisor-ready/README.md`);
    assert.match(page, new RegExp(`^\\| \`image.repository\` \\| \`"${INPUTS.image}"\` `, 'm'));
    assert.doesNotMatch(page, /"localhost\/gvisor-ready/);
  });

  it("has the dispatcher's modules, types and licence in wheel and sdist, and all that its page names in both", async () => {
    const name = `gvisor_dispatch-${VERSION}`;
    const wheel = `${name}-py3-none-any.whl.unpacked`;
    const sdist = `${name}.tar.gz.unpacked/${name}`;
    const [source, page] = [
      join(REPO, 'dispatcher'),
      await readFile(join(REPO, 'dispatcher/README.md'), 'utf8'),
    ];
    const linked = [...page.matchAll(/\]\((?!https?:|#|\.\.\/)([^)#]+)/g)].map(([, path = '']) => path);
    assert.ok(linked.includes('rbac.yaml') && linked.includes('recipes/worker.py'), linked.join());
    const brought = [...linked, ...globSync('recipes/*.*', { cwd: source })];
    const modules = globSync('gvisor_dispatch/{*.py,py.typed}', { cwd: source });
    for (const file of [...modules, ...brought, 'LICENSE']) {
      const inWheel = brought.includes(file)
        ? `${name}.data/data/share/gvisor-dispatch/${file}`
        : file.replace('LICENSE', `${name}.dist-info/licenses/LICENSE`);
      const text = await readFile(join(source, file), 'utf8');
      assert.equal(await read(`${wheel}/${inWheel}`), text, file);
      assert.equal(await read(`${sdist}/${file}`), text, file);
    }
  });
});
