import { constants, type Stats } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errorLine } from '../../lib/base/sanitize.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { parseProcessStat } from '../../lib/host/process.ts';
import { absentOr, count, list, matching, object, oneOf, text } from '../../lib/report/schema.ts';
import { Refusal, STEPS, type Step } from '../base/node.ts';
import { GENERATIONS, syncDirectory } from '../release/release.ts';

/** Not in /run/lock, where every user of the host may create files. */
const LOCK = '/run/gvisor-ready-install.lock';

/** A marked block in one file, for one handler. */
export type Written = {
  /** Host path of containerd's file. */
  readonly file: string;
  /** For all handlers of the file; goes with the last one. */
  readonly head?: string;
  /** The block. */
  readonly text: string;
};

/** A generation, and what names it in containerd's configuration. */
export type Installed = { readonly generation: string; readonly written: Written };

/** Together they name one process until the next boot. */
export type InstallerProcess = { readonly pid: number; readonly startTicks: number };

/** Of one handler, written before the first byte and after each step. */
export type Journal = {
  readonly format: 1;
  readonly handler: string;
  /** The last commit, or absent. */
  readonly installed?: Installed | undefined;
  /** The commit before it, for a rollback. */
  readonly previous?: Installed | undefined;
  /** Left by a person's rollback: only a person installs it again. */
  readonly left?: string | undefined;
  /** Only copied, for a configuration that something else writes. */
  readonly staged?: readonly string[] | undefined;
  /** Under way, or interrupted. */
  readonly pending?: Pending | undefined;
  /** The same is not tried again for a while. */
  readonly failure?: Failure | undefined;
};

export type Pending = Installed & {
  readonly step: Step;
  readonly since: string;
  /** Whether it is taken away. */
  readonly removes?: true | undefined;
  /** As the node's /proc shows it, so that others see whether it is still at work. */
  readonly process: InstallerProcess;
  /** The unit of containerd, in case it is stopped when the next run begins. */
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
  /** Failures in a row, and the restarts of containerd that they cost. */
  readonly tries: number;
  readonly restarts: number;
};

/** Undefined if there is none. */
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

/** By handler; also why others cannot be read. */
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

const time = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const FILE = matching(/^(?:\/(?!\.\.?(?:\/|$))[^/\0\n]+)+$/);
const GENERATION = matching(new RegExp(`^${GENERATIONS}/[\\w.+~-]{1,60}-[0-9a-f]{12}$`));

/** Its texts must be blocks of this program, so that it never claims another program's lines. */
function isJournal(value: unknown, handler: string): value is Journal {
  const block = (name: string) => matching(new RegExp(`^\\n?# BEGIN ${name}: .*# END ${name}\\n$`, 's'));
  const escaped = handler.replaceAll('.', '\\.');
  const written = object<Written>({
    file: FILE,
    head: absentOr(block('gvisor-ready')),
    text: block(`gvisor-ready ${escaped}`),
  });
  const installed = { generation: GENERATION, written };
  const removes = absentOr(oneOf([true]));
  const pending = object<Pending>({
    ...installed,
    since: time,
    removes,
    restarts: count,
    step: oneOf(STEPS),
    process: object<InstallerProcess>({ pid: count, startTicks: count }),
    unit: absentOr(matching(/^[\w@.:\\-]+\.service$/)),
  });
  const failure = object<Failure>({
    generation: GENERATION,
    removes,
    at: time,
    tries: count,
    restarts: count,
    message: text,
    step: matching(/^[a-z-]+$/),
    reason: absentOr(matching(/^[A-Za-z]+$/)),
  });
  return object<Journal>({
    format: oneOf([1]),
    handler: oneOf([handler]),
    left: absentOr(GENERATION),
    installed: absentOr(object<Installed>(installed)),
    previous: absentOr(object<Installed>(installed)),
    staged: absentOr(list(GENERATION)),
    pending: absentOr(pending),
    failure: absentOr(failure),
  })(value);
}

/** A power loss leaves the old journal or the new one. */
export async function writeJournal(root: string, journal: Journal): Promise<void> {
  await writeWhole(root, installJournal(journal.handler), `${JSON.stringify(journal, null, 2)}\n`);
}

export async function removeJournal(root: string, handler: string): Promise<void> {
  const file = join(root, installJournal(handler));
  for (const each of [draftOf(file), file]) await rm(each, { force: true });
}

/** Also from another PID namespace. */
export async function readOwnProcess(root: string): Promise<InstallerProcess> {
  const stat = await readFile(join(root, '/proc/self/stat'), 'utf8');
  return { pid: Number.parseInt(stat, 10), startTicks: parseProcessStat(stat).startTicks };
}

/**
 * In one step that survives a power loss. Mode, owner and times are those of `like`: the time of what others
 * wrote shows whether containerd has loaded it.
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

export async function writeDraft(draft: string, content: string | Buffer, like?: Stats): Promise<void> {
  await using handle = await open(draft, 'w', 0o600);
  if (like !== undefined) await handle.chown(like.uid, like.gid);
  await handle.chmod((like?.mode ?? 0o644) & 0o7777);
  await handle.writeFile(content);
  if (like !== undefined) await handle.utimes(like.atime, like.mtime);
  await handle.sync();
}

export function draftOf(file: string): string {
  return `${file}.gvisor-ready-new`;
}

/**
 * Until this process ends, however it ends. Node has no flock(2), but SQLite locks its file with fcntl(2),
 * for which others would need to read it. Throws a {@link Refusal} while another installer holds it.
 */
export async function holdLock(root: string): Promise<Disposable> {
  const file = join(root, LOCK);
  await mkdir(dirname(file), { recursive: true });
  // Emptied, because SQLite refuses what is no database; one without tables is empty anyway.
  const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW;
  await (await open(file, flags, 0o600)).close();
  await chmod(file, 0o600);
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    const what = `Another installer is at work on this node, or "${LOCK}" cannot be locked: ${errorLine(cause)}`;
    throw new Refusal('journal', { what, cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
