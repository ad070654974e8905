import { constants, type Stats } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errorLine } from '../lib/base/sanitize.ts';
import { installJournal } from '../lib/node/host/installation.ts';
import { parseProcessStat } from '../lib/node/host/process.ts';
import { absentOr, count, list, matching, object, oneOf, text } from '../lib/report/schema.ts';
import { Refusal, STEPS, type Step } from './node.ts';
import { GENERATIONS, syncDirectory } from './release.ts';

/** Not in /run/lock, where every user of the host may create files. */
const LOCK = '/run/gvisor-ready-install.lock';

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
  /** The generation that a person left by a rollback: only a person installs it again. */
  readonly left?: string | undefined;
  /** Generations that were only copied, for a configuration that something else writes. */
  readonly staged?: readonly string[] | undefined;
  /** What is under way, or was when the installer was interrupted. */
  readonly pending?: Pending | undefined;
  /** The last failure: the same is not tried again for a while. */
  readonly failure?: Failure | undefined;
};

export type Pending = Installed & {
  readonly step: Step;
  readonly since: string;
  /** Whether it is taken away. */
  readonly removes?: true | undefined;
  /** The installer's process as the node's /proc shows it, which shows others whether it is still at work. */
  readonly process: InstallerProcess;
  /** The systemd unit that runs containerd, in case that it is stopped when the next run begins. */
  readonly unit?: string | undefined;
  /** Restarts of containerd so far. */
  readonly restarts: number;
};

export type Failure = {
  readonly generation: string;
  readonly step: string;
  readonly removes?: true | undefined;
  readonly reason?: string | undefined;
  readonly message: string;
  readonly at: string;
  /** Tries in a row that failed, and the restarts of containerd that they cost. */
  readonly tries: number;
  readonly restarts: number;
};

/** Reads a handler's journal, which is beside the generations; undefined where there is none. */
export async function readJournal(root: string, handler: string): Promise<Journal | undefined> {
  await refuseOpenDirectory(root);
  const file = installJournal(handler);
  const text = await readFile(join(root, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('journal', `Cannot read the journal "${file}": ${error.code}`);
  });
  if (text === undefined) return undefined;
  try {
    const journal: unknown = JSON.parse(text);
    if (isJournal(journal, handler)) return journal;
  } catch {}
  const next =
    'Was it written by another version? Move it away to begin anew; the configuration of containerd stays as it is';
  throw new Refusal('journal', `The journal "${file}" cannot be understood. ${next}`);
}

/** Its owner writes the journals, and the programs that run as root. */
async function refuseOpenDirectory(root: string): Promise<void> {
  const directory = dirname(installJournal(''));
  const seen = await lstat(join(root, directory)).catch(() => undefined);
  if (seen === undefined) return;
  const isOwn = [0, process.geteuid?.()].includes(seen.uid);
  if (seen.isDirectory() && isOwn && (seen.mode & 0o022) === 0) return;
  const what = `"${directory}" is not a directory that only root can write`;
  throw new Refusal('journal', `${what}. See who made it, then chown and chmod it, or move it away`);
}

/** The journals of all handlers, by name, and why others cannot be read. */
export async function readJournals(root: string): Promise<{
  readonly journals: readonly Journal[];
  readonly broken: readonly Refusal[];
}> {
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

const time = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const FILE = matching(/^(?:\/(?!\.\.?(?:\/|$))[^/\0\n]+)+$/);
const GENERATION = matching(new RegExp(`^${GENERATIONS}/[\\w.+~-]{1,60}-[0-9a-f]{12}$`));

/** A journal's texts are blocks of this program, so that it never names another program's lines as its own. */
function isJournal(value: unknown, handler: string): value is Journal {
  const block = (name: string) => matching(new RegExp(`^\\n?# BEGIN ${name}: .*# END ${name}\\n$`, 's'));
  const escaped = handler.replaceAll('.', '\\.');
  const written = object<Written>({
    file: FILE,
    head: absentOr(block('gvisor-ready')),
    text: block(`gvisor-ready ${escaped}`),
    instead: absentOr(text),
  });
  const installed = { generation: GENERATION, written };
  const removes = absentOr(oneOf([true]));
  const pending = object<Pending>({
    ...{ ...installed, since: time, removes, restarts: count, step: oneOf(STEPS) },
    process: object<InstallerProcess>({ pid: count, startTicks: count }),
    unit: absentOr(matching(/^[\w@.:\\-]+\.service$/)),
  });
  const failure = object<Failure>({
    ...{ generation: GENERATION, removes, at: time, tries: count, restarts: count, message: text },
    step: matching(/^[a-z-]+$/),
    reason: absentOr(matching(/^[A-Za-z]+$/)),
  });
  return object<Journal>({
    ...{ format: oneOf([1]), handler: oneOf([handler]), left: absentOr(GENERATION) },
    installed: absentOr(object<Installed>(installed)),
    previous: absentOr(object<Installed>(installed)),
    staged: absentOr(list(GENERATION)),
    pending: absentOr(pending),
    failure: absentOr(failure),
  })(value);
}

/** Replaces the journal so that a power loss leaves the old one or the new one. */
export async function writeJournal(root: string, journal: Journal): Promise<void> {
  await writeWhole(root, installJournal(journal.handler), `${JSON.stringify(journal, null, 2)}\n`);
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

/**
 * Replaces a host file, or creates it, in one step that survives a power loss. Mode, owner and times are those of `like`, if
 * given: the time of what others wrote shows whether containerd has loaded it.
 */
export async function writeWhole(
  root: string,
  file: string,
  content: string | Buffer,
  like?: Stats,
): Promise<void> {
  const path = join(root, file);
  const draft = draftOf(path);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeDraft(draft, content, like);
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {});
    throw new Error(`Cannot write "${file}"`, { cause });
  }
}

/** Writes a file that is not in its place yet. */
export async function writeDraft(draft: string, content: string | Buffer, like?: Stats): Promise<void> {
  await using handle = await open(draft, 'w', 0o600);
  if (like !== undefined) await handle.chown(like.uid, like.gid);
  await handle.chmod((like?.mode ?? 0o644) & 0o7777);
  await handle.writeFile(content);
  if (like !== undefined) await handle.utimes(like.atime, like.mtime);
  await handle.sync();
}

/** The name of a file until it takes its place. */
export function draftOf(file: string): string {
  return `${file}.gvisor-ready-new`;
}

/**
 * Holds the node's lock until this process ends, however it ends. Node has no flock(2), but SQLite locks its file with
 * fcntl(2), for which others would need to read it. Throws a {@link Refusal} while another installer holds it.
 */
export async function holdLock(root: string): Promise<Disposable> {
  const file = join(root, LOCK);
  await mkdir(dirname(file), { recursive: true });
  // Emptied, because SQLite refuses what is no database. A database without tables is empty anyway.
  const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW;
  await (await open(file, flags, 0o600)).close();
  await chmod(file, 0o600);
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    const message = `Another installer is at work on this node, or "${LOCK}" cannot be locked: ${errorLine(cause)}`;
    throw new Refusal('journal', message, { cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
