import type { Stats } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { installJournal } from '../agent/host/installation.ts';
import { parseProcessStat } from '../agent/host/process.ts';
import { errorLine } from '../agent/sanitize.ts';
import { Refusal, type Step } from './node.ts';
import { syncDirectory } from './release.ts';

/** Not in /run/lock, where every user of the host may create files. */
const LOCK = '/run/gvisor-ready-install.lock';
const SQLITE_BUSY = 5;

/** What the installer wrote into one file for a handler: a marked block. */
export type Written = {
  /** Host path of containerd's file. */
  readonly file: string;
  /** What goes before it in the file for all handlers, and goes with the last one. */
  readonly head?: string;
  /** The block. */
  readonly text: string;
  /** The text of another owner's handler that it took the place of, and that comes back when it goes. */
  readonly instead?: string | undefined;
};

/** One installed state: a generation, and what names it in containerd's configuration. */
export type Installed = { readonly generation: string; readonly written: Written };

/** A PID of the node, and when the process began: together they name one process until the next boot. */
export type InstallerProcess = { readonly pid: number; readonly startTicks: number };

/** What was done on this node with one handler, written before the first byte and after each step. */
export type Journal = {
  readonly format: 1;
  readonly handler: string;
  /** The last commit, or absent. */
  readonly installed?: Installed | undefined;
  /** The commit before it, for a rollback. */
  readonly previous?: Installed | undefined;
  /** What is under way, or was when the installer was interrupted. */
  readonly pending?:
    | (Installed & {
        readonly step: Step;
        readonly since: string;
        /** Whether it is taken away. */
        readonly removes?: true | undefined;
        /** The installer's process as the node's /proc shows it, which shows others whether it is still at work. */
        readonly process: InstallerProcess;
        /** The systemd unit that runs containerd, in case that it is stopped when the next run begins. */
        readonly unit?: string | undefined;
      })
    | undefined;
  /** The last failure. Until `retryAt` the same generation is not tried again. */
  readonly failure?:
    | {
        readonly generation: string;
        readonly step: string;
        readonly reason?: string | undefined;
        readonly message: string;
        readonly at: string;
        readonly retryAt: string;
      }
    | undefined;
};

/** Reads a handler's journal, which is beside the generations; undefined where there is none. */
export async function readJournal(root: string, handler: string): Promise<Journal | undefined> {
  const file = installJournal(handler);
  const text = await readFile(join(root, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('journal', `Cannot read the journal "${file}": ${error.code}`);
  });
  if (text === undefined) return undefined;
  try {
    const journal = JSON.parse(text) as Journal;
    if (journal.format === 1 && journal.handler === handler) return journal;
  } catch {}
  const next =
    'Was it written by another version? Move it away to begin anew; the configuration of containerd stays as it is';
  throw new Refusal('journal', `The journal "${file}" cannot be understood. ${next}`);
}

/** The journals of all handlers, by name. */
export async function readJournals(root: string): Promise<readonly Journal[]> {
  const names = await readdir(join(root, dirname(installJournal('')))).catch(() => []);
  const handlers = names.flatMap((name) => /^install-(.+)\.json$/.exec(name)?.[1] ?? []);
  const journals = await Promise.all(handlers.sort().map((handler) => readJournal(root, handler)));
  return journals.filter((journal) => journal !== undefined);
}

/** Replaces the journal so that a power loss leaves the old one or the new one. */
export async function writeJournal(root: string, journal: Journal): Promise<void> {
  await writeWhole(join(root, installJournal(journal.handler)), `${JSON.stringify(journal, null, 2)}\n`);
}

export async function removeJournal(root: string, handler: string): Promise<void> {
  const file = join(root, installJournal(handler));
  for (const each of [draftOf(file), file]) await rm(each, { force: true });
}

/** This process in the node's /proc, also from another PID namespace. */
export async function readOwnProcess(root: string): Promise<InstallerProcess> {
  const stat = await readFile(join(root, '/proc/self/stat'), 'utf8');
  return { pid: Number.parseInt(stat, 10), startTicks: parseProcessStat(stat).startTicks };
}

/** Replaces a file, or creates it, in one step that survives a power loss. Mode and owner are those of `like`, if given. */
export async function writeWhole(
  file: string,
  text: string,
  like?: Pick<Stats, 'mode' | 'uid' | 'gid'>,
): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = draftOf(file);
  try {
    await using handle = await open(draft, 'w', 0o600);
    if (like !== undefined) await handle.chown(like.uid, like.gid);
    await handle.chmod((like?.mode ?? 0o644) & 0o7777);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(draft, { force: true }); // the disk is full
    throw error;
  }
  await rename(draft, file);
  await syncDirectory(dirname(file));
}

/** The name of a file while {@link writeWhole} writes it. */
export function draftOf(file: string): string {
  return `${file}.gvisor-ready-new`;
}

/**
 * Holds the node's lock until this process ends, however it ends. Node has no flock(2), but SQLite locks its file with
 * fcntl(2). Throws a {@link Refusal} while another installer holds it.
 */
export async function holdLock(root: string): Promise<Disposable> {
  const file = join(root, LOCK);
  await mkdir(dirname(file), { recursive: true });
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    const isHeld = (cause as { readonly errcode?: number }).errcode === SQLITE_BUSY;
    const message = isHeld
      ? `Another installer is at work on this node: it holds "${LOCK}"`
      : `Cannot lock "${LOCK}": ${errorLine(cause)}`;
    throw new Refusal('journal', message, { cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
