import { type FSWatcher, watch } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { Host } from '../host/host.ts';

type Watched = {
  /** Absent where the kernel has no watch left: the folder is then looked at now and then. */
  readonly watcher: FSWatcher | undefined;
  readonly identity: string;
  names: ReadonlySet<string>;
  /** What a look at an unwatched folder last showed. */
  snapshot: string;
  /** The folder itself was moved or removed: what now has its name must be watched instead. */
  stale: boolean;
};

/** File times come from a clock that ticks with the kernel's timer, at least every 10 ms. */
const CLOCK_TICK_MS = 10;
/** How often folders are looked at that cannot be watched. */
const POLL_MS = 5_000;

/**
 * Watches files of the host, those that do not exist yet too: every folder on the way to a file is
 * watched for the name that leads on, on the path as written and behind each of its symbolic links.
 * So a folder that is replaced by rename, or appears, is noticed as well. Where the kernel has no watch left, folders
 * are looked at every few seconds instead.
 */
export class FileTrigger {
  readonly #host: Host;
  readonly #changed: (path: string) => void;
  readonly #watched = new Map<string, Watched>();
  readonly #onUnwatched: (folders: number, why: string) => void;
  readonly #pollMs: number;
  #unwatched = 0;
  #why = '';
  #poll: NodeJS.Timeout | undefined;

  /** `onUnwatched` hears how many folders cannot be watched, and why, whenever that number changes. */
  constructor(
    host: Host,
    changed: (path: string) => void,
    {
      onUnwatched = () => {},
      pollMs = POLL_MS,
    }: { readonly onUnwatched?: (folders: number, why: string) => void; readonly pollMs?: number } = {},
  ) {
    this.#host = host;
    // Watched is what this process sees, told is what the host calls it.
    this.#changed = (local) => changed(join('/', relative(host.root, local)));
    this.#onUnwatched = onUnwatched;
    this.#pollMs = pollMs;
  }

  /**
   * Watches these host paths and no others from now on. What was not watched before and changed since
   * `sinceMs` (wall clock, milliseconds) counts as a change that was just seen.
   */
  async watch(paths: Iterable<string>, sinceMs = Number.POSITIVE_INFINITY): Promise<void> {
    const wanted = new Map<string, Wanted>();
    const done = new Set<string>();
    for (const path of paths) await this.#want(wanted, path, done);
    for (const folder of this.#watched.keys()) {
      if (!wanted.has(folder)) this.#drop(folder);
    }
    for (const [folder, { path, names }] of wanted) {
      const fresh = await this.#add(folder, path, names);
      if (fresh.length > 0 && (await changedSince(folder, fresh, sinceMs))) this.#changed(folder);
    }
    this.#tellUnwatched();
  }

  async #want(wanted: Map<string, Wanted>, path: string, done: Set<string>): Promise<void> {
    for (let at = path; at !== '/' && !done.has(at); at = dirname(at)) {
      done.add(at);
      const folder = await this.#host.realpath(dirname(at)).catch(() => undefined);
      const local = await this.#host.localPath(dirname(at)).catch(() => undefined);
      if (folder === undefined || local === undefined) continue;
      const entry = wanted.get(local) ?? { path: folder, names: new Set() };
      entry.names.add(basename(at));
      wanted.set(local, entry);
      const link = await this.#host.readLink(at).catch(() => undefined); // EINVAL: it is no link
      if (link !== undefined) await this.#want(wanted, resolve(folder, link), done);
    }
  }

  /** Makes sure that the folder is watched for these names, and returns those that it was not watched for before. */
  async #add(folder: string, path: string, names: ReadonlySet<string>): Promise<readonly string[]> {
    const known = this.#watched.get(folder);
    const { identity } = (await this.#host.stat(path).catch(() => undefined)) ?? {};
    if (identity === undefined) {
      this.#drop(folder);
      return []; // The folder went away: the one above is watched for its name.
    }
    if (known?.watcher !== undefined && !known.stale && known.identity === identity) {
      const fresh = [...names].filter((name) => !known.names.has(name));
      known.names = names;
      return fresh;
    }
    this.#drop(folder);
    const watcher = this.#open(folder);
    // What is looked at now and then is compared with the last time, not with now.
    const before = watcher === undefined && known?.watcher === undefined ? known?.snapshot : undefined;
    const snapshot = before ?? (watcher === undefined ? await snapshotOf(folder, names) : '');
    this.#watched.set(folder, { watcher, identity, names, snapshot, stale: false });
    return before === undefined ? [...names] : [];
  }

  #open(folder: string): FSWatcher | undefined {
    try {
      const watcher = watch(folder, (_event, name) => this.#onEvent(folder, name));
      watcher.on('error', () => this.#drop(folder));
      return watcher;
    } catch (error) {
      this.#why = (error as NodeJS.ErrnoException).code ?? String(error);
      return undefined;
    }
  }

  #tellUnwatched(): void {
    const unwatched = [...this.#watched.values()].filter(({ watcher }) => watcher === undefined).length;
    if (unwatched !== this.#unwatched) this.#onUnwatched(unwatched, this.#why);
    this.#unwatched = unwatched;
    if (unwatched > 0) this.#poll ??= setTimeout(() => void this.#pollAll(), this.#pollMs).unref();
  }

  async #pollAll(): Promise<void> {
    for (const [folder, entry] of this.#watched) {
      if (entry.watcher !== undefined) continue;
      const snapshot = await snapshotOf(folder, entry.names);
      if (snapshot !== entry.snapshot) this.#changed(folder);
      entry.snapshot = snapshot;
    }
    this.#poll = undefined;
    this.#tellUnwatched();
  }

  #onEvent(folder: string, name: string | null): void {
    const entry = this.#watched.get(folder);
    if (entry === undefined) return;
    // An event of the folder itself bears the folder's own name: it may be one of a file in it as well.
    if (name === basename(folder)) entry.stale = true;
    if (name === null || entry.names.has(name)) this.#changed(join(folder, name ?? ''));
  }

  #drop(folder: string): void {
    this.#watched.get(folder)?.watcher?.close();
    this.#watched.delete(folder);
  }

  /** Ends all watches. */
  close(): void {
    for (const folder of [...this.#watched.keys()]) this.#drop(folder);
    clearTimeout(this.#poll);
  }
}

/** A folder as the host calls it, and the names in it that matter. */
type Wanted = { readonly path: string; readonly names: Set<string> };

/** What these names are now: it differs when one changes, comes or goes. A folder changes with each name in it. */
async function snapshotOf(folder: string, names: ReadonlySet<string>): Promise<string> {
  const stats = await Promise.all([...names].map((name) => lstat(join(folder, name)).catch(() => undefined)));
  return stats
    .map((each) => each && `${each.ino} ${each.isDirectory() ? '' : `${each.ctimeMs} ${each.mtimeMs}`}`)
    .join();
}

/** Whether an entry of these names changed, came or went since then. */
async function changedSince(folder: string, names: readonly string[], sinceMs: number): Promise<boolean> {
  const limit = sinceMs - CLOCK_TICK_MS;
  for (const name of names) {
    const stats = await lstat(join(folder, name)).catch(() => undefined);
    // For a path that does not exist, only its folder shows whether it existed a moment ago.
    const changedMs = stats?.ctimeMs ?? (await lstat(folder).catch(() => undefined))?.mtimeMs ?? 0;
    if (changedMs >= limit) return true;
  }
  return false;
}
