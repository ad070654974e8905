import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { run, runAll } from '../../hack/run.ts';

const SCRIPT = join(REPO, 'hack/kind-with-gvisor.sh');

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kind-script-'));
});
after(() => rm(dir, { recursive: true, force: true }));

/** Runs the script with fake programs (name and shell script), and returns their calls. */
async function runScript(args: readonly string[], programs: Readonly<Record<string, string>> = {}) {
  const bin = await mkdtemp(join(dir, 'bin-'));
  const calls = join(bin, '.calls');
  for (const [name, body] of Object.entries(programs)) {
    const text = `#!/bin/sh\necho "${name} $*" >>${calls}\n${body}\n`;
    await writeFile(join(bin, name), text, { mode: 0o755 });
  }
  const system = await systemPrograms();
  const { code, stdout, stderr } = await runAll('/bin/sh', [SCRIPT, ...args], {
    env: { PATH: `${bin}${delimiter}${system}`, HOME: dir, TMPDIR: bin },
  });
  const temporary = (await readdir(bin)).filter((name) => name.startsWith('tmp.'));
  return { code, stdout, stderr, temporary, called: existsSync(calls) ? await run('cat', [calls]) : '' };
}

/** Links to the system's programs, without this machine's kind and docker. */
async function systemPrograms(): Promise<string> {
  const directory = join(dir, 'system');
  if (existsSync(directory)) return directory;
  await mkdir(directory);
  const names = 'cat chmod curl dirname mkdir mktemp rm sha512sum tar bzip2 sh'.split(' ');
  for (const name of names)
    await symlink((await run('/bin/sh', ['-c', `command -v ${name}`])).trim(), join(directory, name));
  return directory;
}

const DOCKER = { docker: 'echo aarch64', kind: 'exit 0' };

/** A mirror with one archive and a checksum. */
async function mirrorOf(files: readonly string[], sum?: string): Promise<string> {
  const mirror = await mkdtemp(join(dir, 'mirror-'));
  const directory = join(mirror, '20990101.0', 'aarch64');
  await mkdir(directory, { recursive: true });
  for (const file of files) await writeFile(join(directory, file), file);
  await run('tar', ['-cjf', 'gvisor.tar.bz2', ...files], { cwd: directory });
  const real = await run('sha512sum', ['gvisor.tar.bz2'], { cwd: directory });
  await writeFile(join(directory, 'gvisor.tar.bz2.sha512'), sum ?? real);
  return `file://${mirror}`;
}

describe('kind-with-gvisor.sh', () => {
  it('refuses with one line before it downloads or creates anything', async () => {
    const cases: [string[], Record<string, string>, RegExp][] = [
      [['--nmae', 'x'], DOCKER, /unknown word "--nmae"; see --help/],
      [['--name'], DOCKER, /--name needs a value/],
      [['--release', ''], DOCKER, /--release needs a value/],
      [[], { docker: 'echo x86_64' }, /kind is missing: install it/],
      [[], { kind: 'exit 0' }, /neither docker nor podman is there/],
      [[], { ...DOCKER, docker: 'exit 1' }, /docker does not answer: start its daemon/],
      [[], { ...DOCKER, docker: 'echo riscv64' }, /no release for riscv64/],
    ];
    for (const [args, programs, message] of cases) {
      const { code, stderr, called } = await runScript(args, programs);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
      assert.equal(stderr.trim().split('\n').length, 1, stderr);
      assert.doesNotMatch(called, /^kind /m);
    }
  });

  it('creates nothing from a missing, damaged or incomplete release', async () => {
    const whole = ['runsc', 'containerd-shim-runsc-v1', 'gvisor-bin'];
    const cases: [string, RegExp][] = [
      [`file://${dir}/nowhere`, /cannot download file:.*gvisor\.tar\.bz2: is there such a release\?/],
      [await mirrorOf(whole, `${'0'.repeat(128)}  gvisor.tar.bz2\n`), /does not have the published SHA-512/],
      [await mirrorOf(whole, 'not found\n'), /does not have the published SHA-512/],
      [await mirrorOf(['runsc', 'containerd-shim-runsc-v1']), /the release has no gvisor-bin/],
    ];
    for (const [mirror, message] of cases) {
      const args = ['--mirror', mirror, '--release', 'release-20990101.0'];
      const { code, stderr, called, temporary } = await runScript(args, DOCKER);
      assert.equal(code, 1, stderr);
      assert.match(stderr, message);
      assert.doesNotMatch(called, /^kind /m);
      assert.deepEqual(temporary, [], 'a temporary directory remains');
    }
  });

  it('uses podman without docker', async () => {
    const mirror = await mirrorOf(['runsc', 'containerd-shim-runsc-v1', 'gvisor-bin']);
    const kind = '[ "$KIND_EXPERIMENTAL_PROVIDER" = podman ] || exit 7; [ "$1" != get ] || echo mine-worker';
    const podman = 'if [ "$1" = info ]; then echo arm64; else cat >/dev/null; fi';
    const { code, stderr, called } = await runScript(
      ['--mirror', `${mirror}/`, '--release', '20990101.0', '--name', 'mine', '--image', 'node:x'],
      { podman, kind },
    );
    assert.equal(code, 0, stderr);
    assert.match(called, /^podman info --format {{\.Host\.Arch}}$/m);
    assert.match(
      called,
      /^kind create cluster --name mine --config .*kind-with-gvisor\.yaml --image node:x$/m,
    );
    assert.match(called, /^podman exec --interactive mine-worker sh -euc $/m);
  });
});
