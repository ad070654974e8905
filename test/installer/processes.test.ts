import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { generationAt } from '../../installer/release/generation.ts';
import { usersOf } from '../../installer/release/users.ts';
import { removeCandidates } from '../../installer/steps/candidate.ts';
import type { CriClient } from '../../lib/containerd/client.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'generations-'));
});
after(() => rm(directory, { recursive: true }));

it('a generation is used by its own programs, and not by another program at its path in a container', async () => {
  const root = join(directory, 'host');
  const generation = generationAt(join(directory, 'release-20260223.0-0123456789ab'));
  const [shim, other] = [generation.shim, generation.runsc];
  for (const each of [generation.directory, join(root, generation.directory), join(root, 'proc')])
    await mkdir(each, { recursive: true });
  for (const program of [shim, other]) await writeFile(program, '');
  await link(shim, join(root, shim));
  await writeFile(join(root, other), '');
  for (const [pid, program] of Object.entries({ 11: shim, 12: other, 13: '/bin/sleep' })) {
    await mkdir(join(root, 'proc', pid));
    await symlink(program, join(root, 'proc', pid, 'exe'));
  }
  await symlink('/run/containerd/k8s.io/.0123abcd (deleted)', join(root, 'proc/11/cwd'));
  const bundle = '/run/containerd/k8s.io/0123abcd';
  assert.deepEqual(await usersOf(root, [generation]), [{ directory: generation.directory, bundle }]);
  const named = ['runsc-sandbox', 'boot', `--bundle=${bundle}`, '--network=of-the-command'].join('\0');
  await writeFile(join(root, 'proc/11/cmdline'), named);
  await rm(join(root, 'proc/11/cwd'));
  await symlink('/', join(root, 'proc/11/cwd'));
  assert.deepEqual(await usersOf(root, [generation]), [{ directory: generation.directory, bundle }]);
});

it('a generation behind a link is used by the processes that have the path behind it', async () => {
  const root = join(directory, 'linked');
  const [real, linked] = ['real', 'link'].map((name) =>
    generationAt(join(directory, name, 'release-20260223.0-0123456789ab')),
  );
  assert.ok(real !== undefined && linked !== undefined);
  for (const each of [real.directory, join(root, real.directory), join(root, 'proc/11')])
    await mkdir(each, { recursive: true });
  await writeFile(real.shim, '');
  await link(real.shim, join(root, real.shim));
  await symlink('real', join(root, directory, 'link'));
  await symlink(real.shim, join(root, 'proc/11/exe'));
  const [user] = await usersOf(root, [linked]);
  assert.equal(user?.directory, linked.directory);
});

it('a candidate whose shim keeps containerd from starting is killed by its bundle', async () => {
  const bundles = join(directory, 'bundles');
  const cwd = join(bundles, 'gvisor-ready/gvisor-ready-0123abcd');
  await mkdir(cwd, { recursive: true });
  const [shim, other] = [cwd, bundles].map((each) => spawn('sleep', ['60'], { cwd: each }));
  assert.ok(shim !== undefined && other !== undefined);
  const ended = once(shim, 'exit');
  const down = async () => Promise.reject(new Error('connection refused'));
  const client = { bundles: join(bundles, 'k8s.io'), call: down, deleteTask: down, deleteContainer: down };
  await removeCandidates({ client: client as unknown as CriClient, root: '/' });
  assert.deepEqual(await ended, [null, 'SIGKILL']);
  assert.equal(other.exitCode, null);
  other.kill();
});
