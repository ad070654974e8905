import assert from 'node:assert/strict';
import { link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { loadedPaths } from '../../installer/containerd.ts';
import { listGenerations, removeUnusedGenerations, usersOf } from '../../installer/generations.ts';
import { removeJournal, writeJournal } from '../../installer/journal.ts';
import { GENERATIONS, generationAt } from '../../installer/release.ts';
import type { Runtime } from '../../lib/node/containerd/client.ts';

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
  assert.deepEqual(await usersOf(root, [generation]), [{ pid: 11, directory: generation.directory }]);
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
  const commit = ({ directory: generation }: typeof unused, handler: string) => {
    const text = `# BEGIN gvisor-ready ${handler}: x\n# END gvisor-ready ${handler}\n`;
    return { generation, written: { file: '/etc/containerd/config.toml', text } };
  };
  await writeJournal(root, { format: 1, handler: 'runsc', previous: commit(previous, 'runsc') });
  const canary = commit(installed, 'runsc-canary');
  await writeJournal(root, { format: 1, handler: 'runsc-canary', installed: canary });
  const runtime = (ConfigPath: string): Runtime => ({
    runtimeType: 'io.containerd.runsc.v1',
    runtimePath: '',
    options: { ConfigPath },
    snapshotter: '',
    podAnnotations: [],
    baseRuntimeSpec: '',
    cniConfDir: '',
  });
  const runtimes = new Map([
    ['runsc-kvm', runtime(loaded.config)],
    ['runsc-old', runtime('/etc/containerd/runsc.toml')],
  ]);
  const needs = { named: loadedPaths({ runtimes }), bundled: [bundled.shim] };
  assert.deepEqual(await removeUnusedGenerations(root, needs), [bundled.directory]);
  assert.deepEqual(await listGenerations(root), [loaded, installed, previous, bundled]);
  for (const handler of ['runsc', 'runsc-canary']) await removeJournal(root, handler);
  assert.deepEqual(await removeUnusedGenerations(root, { named: [], bundled: [] }), []);
  assert.deepEqual(await listGenerations(root), []);
});
