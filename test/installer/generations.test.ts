import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import type { Runtime } from '../../agent/containerd/client.ts';
import { waitFor } from '../../hack/run.ts';
import { loadedByOthers } from '../../installer/containerd.ts';
import { listGenerations, removeUnusedGenerations, usersOf } from '../../installer/generations.ts';
import { removeJournal, writeJournal } from '../../installer/journal.ts';
import { GENERATIONS, generationAt } from '../../installer/release.ts';

let directory: string;
const children: ChildProcess[] = [];

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'generations-'));
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(directory, { recursive: true });
});

it('a generation is used by its own programs, and not by another program at its path in a container', async () => {
  const generation = generationAt(join(directory, 'release-20260223.0-0123456789ab'));
  const others = join(directory, 'others');
  for (const each of [generation.directory, others]) {
    await mkdir(each);
    await copyFile('/bin/sleep', join(each, 'runsc'));
  }
  const own = spawn(generation.runsc, ['60']);
  const script = 'mount --bind "$0" "$1" && exec "$1/runsc" 60';
  const words = ['--user', '--map-root-user', '--mount', 'sh', '-c', script, others, generation.directory];
  const contained = spawn('unshare', words);
  children.push(own, contained);
  await waitFor('both to run', 10_000, async () => {
    const programs = await Promise.all([own, contained].map(({ pid }) => readlink(`/proc/${pid}/exe`)));
    return programs.every((program) => program === generation.runsc);
  });
  const users = await usersOf('/', [generation]);
  assert.deepEqual(
    users.map(({ pid }) => pid),
    [own.pid],
  );
});

it('a generation goes once no handler, no journal of one, and no sandbox needs it', async () => {
  const all = ['0', '1', '2', '3', '4'].map((digit) =>
    generationAt(`${GENERATIONS}/release-20260223.0-${digit.repeat(12)}`),
  );
  const [unused, loaded, installed, previous, bundled] = all;
  assert.ok(unused && loaded && installed && previous && bundled);
  const root = join(directory, 'root');
  await mkdir(join(root, 'proc'), { recursive: true });
  for (const each of all) await mkdir(join(root, each.directory), { recursive: true });
  const written = { file: '/etc/containerd/config.toml', text: '' };
  const commit = ({ directory: generation }: typeof unused) => ({ generation, written });
  await writeJournal(root, { format: 1, handler: 'runsc', previous: commit(previous) });
  await writeJournal(root, { format: 1, handler: 'runsc-canary', installed: commit(installed) });
  const runtime = (ConfigPath: string): Runtime => ({
    runtimeType: 'io.containerd.runsc.v1',
    runtimePath: '',
    options: { ConfigPath },
    snapshotter: '',
    podAnnotations: [],
  });
  const runtimes = new Map([
    ['runsc', runtime(unused.config)],
    ['runsc-kvm', runtime(loaded.config)],
    ['runsc-old', runtime('/etc/containerd/runsc.toml')],
  ]);
  const needs = { loaded: loadedByOthers({ runtimes }, 'runsc'), bundled: [bundled.shim] };
  assert.deepEqual(await removeUnusedGenerations(root, needs), [bundled.directory]);
  assert.deepEqual(await listGenerations(root), [loaded, installed, previous, bundled]);
  for (const handler of ['runsc', 'runsc-canary']) await removeJournal(root, handler);
  assert.deepEqual(await removeUnusedGenerations(root, { loaded: [], bundled: [] }), []);
  assert.deepEqual(await listGenerations(root), []);
});
