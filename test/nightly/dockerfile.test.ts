import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BUNDLES, bundle } from '../../hack/bundle.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';

type Instruction = { readonly name: string; readonly rest: string };

/** The instructions of a stage, which `from` introduces. */
function stage(dockerfile: string, from: string): readonly Instruction[] {
  const text = readFileSync(join(REPO, dockerfile), 'utf8').replace(/\\\n/g, '');
  const [, body = ''] = text.split(`FROM ${from}\n`);
  const lines = (body.split('\nFROM ')[0] ?? '').split('\n');
  return lines.flatMap((line) => {
    const [, name = '', rest = ''] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    return name === '' ? [] : [{ name, rest }];
  });
}

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dockerfile-'));
});
after(() => rm(directory, { recursive: true }));

/**
 * Runs the stage `bundled` in an empty directory: copies what it copies, and runs what it runs. `npm ci` gives it the
 * packages of this repository. Returns the directory.
 */
async function runBundled(dockerfile: string, settings: NodeJS.ProcessEnv, more = ''): Promise<string> {
  const work = join(directory, dockerfile.replace('/', '-'));
  await mkdir(work);
  const ignored = (await readFile(join(REPO, '.dockerignore'), 'utf8')).split('\n');
  const env = { ...process.env, ...settings };
  for (const { name, rest } of stage(dockerfile, `\${BUILDER} AS bundled`)) {
    if (name === 'COPY') {
      const paths = rest.split(' ');
      const target = join(work, paths.pop() ?? '');
      for (const path of paths) {
        assert.ok(ignored.includes(`!${path}`), `.dockerignore leaves out ${path}`);
        const to = rest.endsWith('/') ? join(target, path) : target;
        await cp(join(REPO, path), to, { recursive: true });
      }
    } else if (rest === 'npm ci') await symlink(join(REPO, 'node_modules'), join(work, 'node_modules'));
    else if (name === 'RUN')
      await run('sh', ['-c', `${rest}${more}`], { cwd: work, env, timeoutMs: 180_000 });
  }
  return work;
}

/** The files that the image takes from the stage. */
const taken = (dockerfile: string) =>
  stage(dockerfile, 'image')
    .filter(({ name, rest }) => name === 'COPY' && rest.startsWith('--from=bundled '))
    .flatMap(({ rest }) => rest.split(' ').slice(1, -1))
    .map((path) => path.replace('/src/', ''));

describe('the stage that `docker build` runs', { timeout: patient(300_000) }, () => {
  it('makes the programs that the tests run, from the files that it copies', async () => {
    const work = await runBundled('Dockerfile', {});
    const own = join(directory, 'own');
    await bundle({ dist: own });
    // esbuild names modules by their real path, and the packages are behind a link.
    const packages = relative(await realpath(work), join(REPO, 'node_modules'));
    const files = BUNDLES.map((each) => `${each}.cjs`);
    for (const file of files) {
      const text = (await readFile(join(work, 'dist', file), 'utf8')).replaceAll(packages, 'node_modules');
      assert.ok(text === (await readFile(join(own, file), 'utf8')), `${file} is another program`);
    }
    const version = await run(join(work, 'dist/node'), [join(work, 'dist/agent.cjs'), '--version']);
    assert.equal(version.trim(), VERSION);
    const expected = ['dist/node', ...files.flatMap((file) => [`dist/${file}`, `dist/${file}.map`])];
    const patterns = taken('Dockerfile');
    for (const file of expected) {
      assert.ok(existsSync(join(work, file)), file);
      const is = (pattern: string) =>
        file === pattern || (pattern.includes('*') && file.endsWith(basename(pattern).slice(1)));
      assert.ok(patterns.some(is), `the image takes ${file}`);
    }
  });

  it("makes the installer with a release of gVisor's archive", async (t) => {
    const archive = join(directory, 'gvisor.tar.bz2');
    const programs = ['containerd-shim-runsc-v1', 'runsc'];
    for (const program of programs) await writeFile(join(directory, program), program);
    await run('tar', ['-cjf', archive, '-C', directory, ...programs]);
    const content = await readFile(archive);
    const server = createServer((_, response) => response.end(content)).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const SHA256 = createHash('sha256').update(content).digest('hex');
    const mirror = ` --mirror http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const work = await runBundled('installer/Dockerfile', { GVISOR: '20260914.0', SHA256 }, mirror);
    for (const path of taken('installer/Dockerfile')) assert.ok(existsSync(join(work, path)), path);
    assert.match(await run(join(work, 'dist/installer/gvisor-ready-install'), ['--help']), /install/);
  });
});
