import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import { packRelease } from '../../hack/gvisor-release.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';
import { installJournal } from '../../lib/host/installation.ts';

const TEXT = '# BEGIN gvisor-ready runsc: x\n# END gvisor-ready runsc\n';
const COMMIT = {
  generation: '/usr/local/lib/gvisor/release-1-0123456789ab',
  written: { file: '/etc/containerd/config.toml', text: TEXT },
};

describe('gvisor-ready-install with bad input', () => {
  const empty = mkdtempSync(join(tmpdir(), 'installer-'));
  after(() => rmSync(empty, { recursive: true }));
  const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ['a root that does not exist', ['--root', '/none', 'check'], 1, /no directory "\/none"\. Give --root/],
    ['no containerd', ['--root', empty, 'check'], 1, /containerd does not respond at .*ENOENT/],
    ['no release', ['install', '--release', empty], 1, /Cannot read the release's manifest .*ENOENT/],
    ['a handler that is a path', ['--handler', '../x', 'check'], 64, /lower-case letters/],
  ];
  for (const [what, words, code, text] of cases)
    it(`${what}: says so and ends with ${code}`, async () => {
      const ran = await runInstaller(...words);
      assert.match(ran.stderr, text);
      assert.equal(ran.code, code);
    });
});

it('--json tells what was seen and what to do next apart', async () => {
  const { stderr } = await runInstaller('--json', '--root', '/none', 'check');
  const { what, next, message } = JSON.parse(stderr);
  assert.equal(what, 'There is no directory "/none"');
  assert.equal(next, "Give --root with the node's root directory");
  assert.equal(message, `${what}. ${next}`);
});

/** A node without containerd, on which a release is installed that lost a file, and whose second journal is cut off. */
function damagedNode(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), 'installer-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const path of ['proc', COMMIT.generation]) mkdirSync(join(root, path), { recursive: true });
  writeFileSync(
    join(root, installJournal('runsc')),
    JSON.stringify({ format: 1, handler: 'runsc', installed: COMMIT, previous: COMMIT }),
  );
  writeFileSync(join(root, installJournal('runsc-kvm')), '{');
  return root;
}

async function runInstaller(...words: readonly string[]) {
  const args = [join(REPO, 'installer/main.ts'), ...words];
  const { code, stdout, stderr } = await runAll(process.execPath, args, { timeoutMs: 60_000, cwd: REPO });
  return { code, stderr, text: `${stdout}${stderr}`.replace(/\s+/g, ' ') };
}

it('status tells what is damaged, and of a journal that cannot be read', async (t) => {
  const { code, text } = await runInstaller('--root', damagedNode(t), 'status');
  assert.equal(code, 1);
  assert.match(text, /✗ undo The journal "\S+runsc-kvm.json" cannot be understood/);
  assert.match(text, /✗ commit handler "runsc" runs release-1 from \S+, and \S+ does not name it any more/);
  assert.match(
    text,
    /✗ stage \S+: processes that use it: 0; loaded as: unknown; damaged: manifest.json; install that release again/,
  );
});

it('a dry run locks nothing, and starts no containerd', async (t) => {
  const root = damagedNode(t);
  await packRelease(join(root, 'release'), 'release-1', {
    runsc: process.execPath,
    'containerd-shim-runsc-v1': process.execPath,
  });
  const words = ['--root', root, '--restart-command', `touch ${root}/restarted`, 'install', '--dry-run'];
  const { text } = await runInstaller(...words, '--release', join(root, 'release'));
  assert.match(text, /containerd does not respond/);
  assert.equal(existsSync(join(root, 'run')), false);
});

it('takes what k3s left behind for k3s, unless socket and file of another containerd are named', async (t) => {
  const root = damagedNode(t);
  mkdirSync(join(root, 'var/lib/rancher/k3s/agent/etc/containerd'), { recursive: true });
  writeFileSync(join(root, 'var/lib/rancher/k3s/agent/etc/containerd/config.toml'), 'version = 3\n');
  const { text } = await runInstaller('--root', root, 'check');
  assert.match(text, /k3s writes containerd's .* If k3s is gone from this node, give --socket and --config/);
  const named = ['--root', root, '--socket', '/run/x.sock', '--config', '/etc/containerd/config.toml'];
  assert.match((await runInstaller(...named, 'check')).text, /containerd does not respond at "\/run\/x/);
});

it('ends what was begun when a person presses Ctrl-C, and says so', async (t) => {
  const root = damagedNode(t);
  mkdirSync(join(root, 'run/containerd'), { recursive: true });
  const busy = createServer();
  busy.listen(join(root, 'run/containerd/containerd.sock'));
  const words = [join(REPO, 'installer/main.ts'), '--root', root, 'rollback'];
  const child = spawn(process.execPath, words, { cwd: REPO });
  t.after(() => {
    child.kill('SIGKILL');
    busy.close();
  });
  await once(busy, 'connection');
  child.kill('SIGINT');
  const [text] = await once(child.stdout, 'data');
  assert.match(String(text), /undo +SIGINT: ending what was begun/);
  assert.equal(child.exitCode, null);
});
