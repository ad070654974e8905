import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { installJournal } from '../../agent/host/installation.ts';
import { listGenerations, removeUnusedGenerations } from '../../installer/generations.ts';
import {
  holdLock,
  readJournal,
  readJournals,
  readOwnProcess,
  removeJournal,
  writeJournal,
} from '../../installer/journal.ts';
import { GENERATIONS } from '../../installer/release.ts';

const JOURNAL = installJournal('runsc');
const NOTHING = { named: [], bundled: [] };
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

it('goes with what an interrupted installation left, and with the directory', async () => {
  await mkdir(join(root, GENERATIONS, '.unfinished-01234567'), { recursive: true });
  await writeJournal(root, { format: 1, handler: 'runsc' });
  await writeFile(join(root, `${JOURNAL}.gvisor-ready-new`), '');
  await removeJournal(root, 'runsc');
  await removeUnusedGenerations(root, NOTHING);
  assert.deepEqual(await readdir(join(root, '/usr/local/lib')), []);
});

it('leaves the directory where another file is in it', async () => {
  await writeJournal(root, { format: 1, handler: 'runsc' });
  await writeFile(join(root, GENERATIONS, 'notes'), '');
  await removeJournal(root, 'runsc');
  await removeUnusedGenerations(root, NOTHING);
  assert.deepEqual(await readdir(join(root, GENERATIONS)), ['notes']);
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
  await assert.rejects(holdLock(root), /Another installer is at work on this node: it holds "\/run\//);
  lock[Symbol.dispose]();
  (await holdLock(root))[Symbol.dispose]();
});
