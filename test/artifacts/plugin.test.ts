import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { loadYaml } from '@kubernetes/client-node';
import { REPO } from '../../hack/paths.ts';
import { writeKrew } from '../../hack/plugin.ts';
import { run, runAll } from '../../hack/run.ts';
import { VERSION } from '../../lib/base/version.ts';
import { DAEMON_SET_PATH, openFleet } from '../kubectl/fleet.ts';

const REPOSITORY = 'https://git.example.org/team/gvisor-ready';

describe('the bundled kubectl plugin', () => {
  let dist = '';
  let bin = '';
  let manifest = '';

  before(async () => {
    dist = await mkdtemp(join(tmpdir(), 'plugin-'));
    bin = join(dist, 'bin');
    [, manifest = ''] = await writeKrew(REPOSITORY, join(dist, 'out'));
    for (const file of ['kubectl-gvisor_ready', 'kubectl_complete-gvisor_ready'])
      await cp(join(dist, 'out', file), join(bin, file));
    await symlink(process.execPath, join(bin, 'node'));
  });
  after(() => rm(dist, { recursive: true, force: true }));

  const env = (more: NodeJS.ProcessEnv) => ({ PATH: `${bin}${delimiter}/usr/bin${delimiter}/bin`, ...more });
  /** The environment of a user of a fleet. */
  async function userOf(t: TestContext) {
    const { api, kubeconfig } = await openFleet(t);
    return { api, env: env({ KUBECONFIG: kubeconfig }) };
  }

  it('runs as one file without node_modules', async (t) => {
    const options = await userOf(t);
    assert.equal(await run('kubectl-gvisor_ready', ['--version'], options), `${VERSION}\n`);
    const { code, stdout, stderr } = await runAll('kubectl-gvisor_ready', ['why', 'node-3'], options);
    assert.deepEqual([code, stderr], [1, '']);
    assert.match(stdout, /ShimNotFound: Install/);
    const npx = ['-y', '--package=node@20', 'node', '-p', 'process.execPath'];
    const node20 = (await run('npx', npx, { timeoutMs: 300_000 })).trim();
    assert.match(await run(node20, ['-p', 'process.version']), /^v20\./);
    const bundle = join(bin, 'kubectl-gvisor_ready');
    assert.match(await run(node20, [bundle, 'nodes'], options), /^node-1 /m);
    const none = await runAll('kubectl-gvisor_ready', ['nodes'], {
      env: env({ KUBECONFIG: join(dist, 'none') }),
    });
    assert.equal(none.code, 2);
    assert.match(none.stderr, /^Cannot read the kubeconfig of KUBECONFIG or ~\/\.kube\/config: ENOENT\n$/);
  });

  it('completes commands through its completion script', async () => {
    const text = await run('kubectl_complete-gvisor_ready', ['sta'], { env: env({}) });
    assert.equal(text, 'status\tthe fleet at a glance\n:4\n');
  });

  it('exits quietly on a closed pipe', async (t) => {
    const args = ['-c', 'kubectl-gvisor_ready nodes | head -n 1'];
    const { stdout, stderr } = await runAll('sh', args, await userOf(t));
    assert.deepEqual([stdout.split(' ')[0], stderr], ['NAME', '']);
  });

  for (const [key, bytes, code, text] of [
    ['n', 'n\n', 1, 'Nothing was written.'],
    ['Ctrl-C', '\u0003', 130, 'Interrupted.'],
    ['Ctrl-D', '\u0004', 1, 'Nothing was written.'],
  ] as const)
    it(`exits with ${code} and writes nothing after ${key} at a question`, async (t) => {
      const { api, env: user } = await userOf(t);
      api.stubs.delete(DAEMON_SET_PATH);
      const script = spawn('script', ['-qefc', 'kubectl-gvisor_ready uninstall', '/dev/null'], {
        env: { TERM: 'xterm-256color', ...user },
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      let printed = '';
      script.stdout.on('data', (chunk: Buffer) => {
        const asked = printed.includes('Go on?');
        printed += chunk.toString();
        if (!asked && printed.includes('Go on?')) script.stdin.write(bytes);
      });
      const [exit] = await once(script, 'close');
      assert.equal(exit, code, printed);
      assert.ok(printed.includes(text), printed);
      assert.deepEqual(api.patched, []);
    });

  it('links to pages that everyone can open, at its version', async (t) => {
    const options = await userOf(t);
    const { stdout } = await runAll('kubectl-gvisor_ready', ['check'], options);
    const page = `${REPOSITORY}/blob/v${VERSION}/docs/runbooks/GVisorNodeNotReady.md`;
    assert.ok(stdout.includes(`\n  see ${page}\n`), stdout);
    const why = await runAll('kubectl-gvisor_ready', ['why', 'node-3'], options);
    assert.ok(why.stdout.endsWith(`\nSee ${REPOSITORY}/blob/v${VERSION}/docs/reasons.md\n`), why.stdout);
  });

  it('has a krew manifest with the digest of its archive', async () => {
    const { metadata, spec } = loadYaml<{
      metadata: { name: string };
      spec: { version: string; platforms: { uri: string; sha256: string }[] };
    }>(await readFile(manifest, 'utf8'));
    assert.deepEqual([metadata.name, spec.version], ['gvisor-ready', `v${VERSION}`]);
    const [{ uri, sha256 } = { uri: '', sha256: '' }] = spec.platforms;
    const archive = join(dirname(manifest), uri.split('/').at(-1) ?? '');
    assert.ok(uri.startsWith(`${REPOSITORY}/releases/download/v${VERSION}/`));
    assert.equal(hash('sha256', await readFile(archive)), sha256);
    assert.equal(
      await run('tar', ['-tzf', archive]),
      'kubectl-gvisor_ready\nkubectl_complete-gvisor_ready\nLICENSE\n',
    );
  });

  it('is all that npm would publish', async () => {
    const [packed] = JSON.parse(
      await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: REPO }),
    ) as { files: { path: string }[] }[];
    assert.ok(
      packed?.files.every(({ path }) => /^(dist\/kubectl\/|package\.json|README\.md|LICENSE)/.test(path)),
      JSON.stringify(packed?.files),
    );
  });
});
