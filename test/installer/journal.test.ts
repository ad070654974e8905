import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { readJournal, readJournals, writeJournal } from '../../installer/journal/journal.ts';
import { holdLock } from '../../installer/journal/lock.ts';
import { readOwnProcess } from '../../installer/journal/own-process.ts';
import type { Journal } from '../../installer/journal/schema.ts';
import { GENERATIONS, listGenerations } from '../../installer/release/generation.ts';
import { installJournal } from '../../lib/host/installation.ts';

const JOURNAL = installJournal('runsc');
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'journal-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

it('lies beside the generations and is none of them', async () => {
  const name = 'release-20260223.0-0123456789ab';
  await mkdir(join(root, GENERATIONS, name), { recursive: true });
  await writeJournal(root, { format: 1, handler: 'runsc' });
  await writeFile(join(root, `${JOURNAL}.gvisor-ready-new`), '');
  const generations = await listGenerations(root);
  assert.deepEqual(
    generations.map(({ directory }) => directory),
    [`${GENERATIONS}/${name}`],
  );
  assert.deepEqual(await readJournal(root, 'runsc'), { format: 1, handler: 'runsc' });
});

it('names this process as /proc shows it', async () => {
  const { pid, startTicks } = await readOwnProcess('/');
  assert.deepEqual([pid, startTicks > 0], [process.pid, true]);
});

it('is of one handler', async () => {
  const [main, kvm] = ['runsc', 'runsc-kvm'].map((handler) => ({ format: 1, handler }) as const);
  assert.ok(main && kvm);
  await writeJournal(root, kvm);
  await writeJournal(root, main);
  assert.deepEqual(await readJournals(root), { journals: [main, kvm], broken: [] });
  await rename(join(root, installJournal('runsc-kvm')), join(root, installJournal('gvisor')));
  await assert.rejects(readJournal(root, 'gvisor'), /cannot be understood/);
});

it('is locked while an installer is at work', async () => {
  const lock = await holdLock(root);
  await assert.rejects(
    holdLock(root),
    /Another installer is at work on this node, or "\/run\/.*database is locked/,
  );
  lock[Symbol.dispose]();
  (await holdLock(root))[Symbol.dispose]();
});

it('is locked by a file that other users cannot lock, whatever is in it', async () => {
  const file = join(root, '/run/gvisor-ready-install.lock');
  await mkdir(join(root, '/run'));
  await writeFile(file, 'garbage', { mode: 0o644 });
  using _lock = await holdLock(root);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
});

it('is believed only in a directory that no other user can write', async () => {
  const directory = join(root, GENERATIONS);
  await writeJournal(root, { format: 1, handler: 'runsc' });
  await chmod(directory, 0o775);
  await assert.rejects(readJournal(root, 'runsc'), /is not a directory that only root can write/);
  await chmod(directory, 0o755);
  await rename(directory, `${directory}-elsewhere`);
  await symlink(`${directory}-elsewhere`, directory);
  await assert.rejects(readJournal(root, 'runsc'), /is not a directory that only root can write/);
});

describe('a journal', () => {
  const text = '# BEGIN gvisor-ready runsc: x\n# END gvisor-ready runsc\n';
  const installed = {
    generation: `${GENERATIONS}/release-1-0123456789ab`,
    written: { file: '/etc/containerd/config.toml', text },
  };
  const pending = { ...installed, step: 'write', since: '2026-11-29T10:00:00Z', restarts: 0 };
  const good = {
    ...{ format: 1, handler: 'runsc', installed, staged: [installed.generation] },
    pending: { ...pending, process: { pid: 1, startTicks: 2 } },
  };
  const read = async (journal: object) => {
    await writeJournal(root, journal as Journal);
    return readJournal(root, 'runsc');
  };
  const written = (part: object) => ({
    ...good,
    installed: { ...installed, written: { ...installed.written, ...part } },
  });
  const bad = {
    'a line of another program as its own': written({ text: 'root:x:0:0::/root:/bin/sh\n' }),
    'the block of another handler': written({ text: text.replaceAll('runsc', 'runc') }),
    'a path that climbs': written({ file: '/etc/containerd/../passwd' }),
    'a head that is no block': written({ head: 'version = 3' }),
    'a generation elsewhere': { ...good, previous: { ...installed, generation: '/tmp/x-0123456789ab' } },
    'something pending without a text': { ...good, pending: { ...good.pending, written: undefined } },
    'an unknown step': { ...good, pending: { ...good.pending, step: 'sing' } },
    'a unit that is an option': { ...good, pending: { ...good.pending, unit: '--root=x' } },
    'a failure at no time': { ...good, failure: { ...pending, at: 'soon', message: '', tries: 1 } },
  };

  it('is read as it was written', async () => {
    assert.deepEqual(await read(good), good);
  });
  for (const [what, journal] of Object.entries(bad))
    it(`is refused with ${what}, and hides no other`, async () => {
      await writeJournal(root, { format: 1, handler: 'runsc-kvm' });
      await assert.rejects(read(journal), /cannot be understood/);
      const { journals, broken } = await readJournals(root);
      assert.deepEqual([journals.map(({ handler }) => handler), broken.length], [['runsc-kvm'], 1]);
    });
});
