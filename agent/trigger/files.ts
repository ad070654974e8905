import { type FSWatcher, type Stats, statSync, watch } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { Host } from '../host/host.ts';

type Watched = {
  readonly watcher: FSWatcher;
  readonly folder: Stats;
  names: ReadonlySet<string>;
  /** The folder itself was moved or removed: what now has its name must be watched instead. */
  stale: boolean;
};

/** The word for a change of that host path. */
export function fileEvent(path: string): string {
  return `file ${path}`;
}

/** File times come from a clock that ticks with the kernel's timer, at least every 10 ms. */
const CLOCK_TICK_MS = 10;

/**
 * Watches files of the host, those that do not exist yet too: every folder on the way to a file is
 * watched for the name that leads on, on the path as written and behind each of its symbolic links.
 * So a folder that is replaced by rename, or appears, is noticed as well.
 */
export class FileTrigger {
  readonly #host: Host;
  readonly #changed: (path: string) => void;
  readonly #watched = new Map<string, Watched>();

  constructor(host: Host, changed: (path: string) => void) {
    this.#host = host;
    // Watched is what this process sees, told is what the host calls it.
    this.#changed = (local) => changed(join('/', relative(host.root, local)));
  }

  /**
   * Watches these host paths and no others from now on. What was not watched before and changed since
   * `sinceMs` (wall clock, milliseconds) counts as a change that was just seen.
   */
  async watch(paths: Iterable<string>, sinceMs = Number.POSITIVE_INFINITY): Promise<void> {
    const wanted = new Map<string, Set<string>>();
    const done = new Set<string>();
    for (const path of paths) await this.#want(wanted, path, done);
    for (const folder of this.#watched.keys()) {
      if (!wanted.has(folder)) this.#drop(folder);
    }
    for (const [folder, names] of wanted) {
      const fresh = this.#add(folder, names);
      if (fresh.length > 0 && (await changedSince(folder, fresh, sinceMs))) this.#changed(folder);
    }
  }

  async #want(wanted: Map<string, Set<string>>, path: string, done: Set<string>): Promise<void> {
    for (let at = path; at !== '/' && !done.has(at); at = dirname(at)) {
      done.add(at);
      const folder = await this.#host.realpath(dirname(at)).catch(() => undefined);
      const local = await this.#host.localPath(dirname(at)).catch(() => undefined);
      if (folder === undefined || local === undefined) continue;
      const names = wanted.get(local) ?? new Set();
      wanted.set(local, names.add(basename(at)));
      const link = await this.#host.readLink(at).catch(() => undefined); // EINVAL: it is no link
      if (link !== undefined) await this.#want(wanted, resolve(folder, link), done);
    }
  }

  /** Makes sure that the folder is watched for these names, and returns those that it was not watched for before. */
  #add(folder: string, names: ReadonlySet<string>): readonly string[] {
    const known = this.#watched.get(folder);
    try {
      const stats = statSync(folder);
      if (known !== undefined && !known.stale && isSame(known.folder, stats)) {
        const fresh = [...names].filter((name) => !known.names.has(name));
        known.names = names;
        return fresh;
      }
      this.#drop(folder);
      const watcher = watch(folder, (_event, name) => this.#hear(folder, name));
      watcher.on('error', () => this.#drop(folder));
      this.#watched.set(folder, { watcher, folder: stats, names, stale: false });
      return [...names];
    } catch {
      this.#drop(folder);
      return []; // The folder went away, or watches are used up: the periodic look still sees it.
    }
  }

  #hear(folder: string, name: string | null): void {
    const entry = this.#watched.get(folder);
    if (entry === undefined) return;
    // An event of the folder itself bears the folder's own name: it may be one of a file in it as well.
    if (name === basename(folder)) entry.stale = true;
    if (name === null || entry.names.has(name)) this.#changed(join(folder, name ?? ''));
  }

  #drop(folder: string): void {
    this.#watched.get(folder)?.watcher.close();
    this.#watched.delete(folder);
  }

  /** Ends all watches. */
  close(): void {
    for (const folder of [...this.#watched.keys()]) this.#drop(folder);
  }
}

function isSame(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

/** Whether an entry of these names changed, came or went since then. */
async function changedSince(folder: string, names: readonly string[], sinceMs: number): Promise<boolean> {
  const limit = sinceMs - CLOCK_TICK_MS;
  for (const name of names) {
    const stats = await lstat(join(folder, name)).catch(() => undefined);
    // Of what is not there, only its folder can tell whether it was there a moment ago.
    const changedMs = stats?.ctimeMs ?? (await lstat(folder).catch(() => undefined))?.mtimeMs ?? 0;
    if (changedMs >= limit) return true;
  }
  return false;
}
