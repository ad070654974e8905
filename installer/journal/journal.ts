import { lstat, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { installJournal } from '../../lib/host/installation.ts';
import { Refusal } from '../base/refusal.ts';
import { draftOf, writeWhole } from '../base/whole-file.ts';
import { isJournal, type Journal } from './schema.ts';

/** Resolves with undefined if there is none. */
export async function readJournal(root: string, handler: string): Promise<Journal | undefined> {
  await refuseOpenDirectory(root);
  const file = installJournal(handler);
  const text = await readFile(join(root, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('journal', { what: `Cannot read the journal "${file}": ${error.code}` });
  });
  if (text === undefined) return undefined;
  try {
    const journal: unknown = JSON.parse(text);
    if (isJournal(journal, handler)) return journal;
  } catch {}
  throw new Refusal('journal', {
    what: `The journal "${file}" cannot be understood`,
    next: 'Was it written by another version? Move it away to begin anew; the configuration of containerd stays as it is',
  });
}

/** The owner of this directory writes the journals, and the programs that run as root. */
async function refuseOpenDirectory(root: string): Promise<void> {
  const directory = dirname(installJournal(''));
  const seen = await lstat(join(root, directory)).catch(() => undefined);
  if (seen === undefined) return;
  const isOwn = [0, process.geteuid?.()].includes(seen.uid);
  if (seen.isDirectory() && isOwn && (seen.mode & 0o022) === 0) return;
  throw new Refusal('journal', {
    what: `"${directory}" is not a directory that only root can write`,
    next: 'See who made it, then chown and chmod it, or move it away',
  });
}

/** Resolves with the journals by handler, and with the reasons why others cannot be read. */
export async function readJournals(root: string) {
  const names = await readdir(join(root, dirname(installJournal('')))).catch(() => []);
  const handlers = names.flatMap((name) => /^install-(.+)\.json$/.exec(name)?.[1] ?? []).sort();
  const read = await Promise.all(
    handlers.map((handler) =>
      readJournal(root, handler).catch((error: unknown) => {
        if (error instanceof Refusal) return error;
        throw error;
      }),
    ),
  );
  return {
    journals: read.flatMap((each) => (each === undefined || each instanceof Refusal ? [] : each)),
    broken: read.filter((each) => each instanceof Refusal),
  };
}

/** A power loss leaves the old journal or the new one. */
export async function writeJournal(root: string, journal: Journal): Promise<void> {
  await writeWhole(root, installJournal(journal.handler), `${JSON.stringify(journal, null, 2)}\n`);
}

export async function removeJournal(root: string, handler: string): Promise<void> {
  const file = join(root, installJournal(handler));
  for (const each of [draftOf(file), file]) await rm(each, { force: true });
}
