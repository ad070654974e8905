import { type FSWatcher, watch } from 'node:fs';
import { basename, join } from 'node:path';
import { TimeoutError } from '../async.ts';
import type { FileStat, Host } from '../host/host.ts';

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

/** What may be told of a trigger, and to it. */
export type FileTriggerOptions = {
  /** Hears how many folders cannot be watched, and why, whenever that number changes. */
  readonly onUnwatched?: (folders: number, why: string) => void;
  readonly pollMs?: number;
};

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
  readonly #options: FileTriggerOptions;
  #unwatched = 0;
  #why = '';
  #poll: NodeJS.Timeout | undefined;
  /** How often watches were set, */
  #turn = 0;
  /** how often the host was late, */
  #lates = 0;
  /** and when they are set again because of that. */
  #again: NodeJS.Timeout | undefined;

  constructor(host: Host, changed: (path: string) => void, options: FileTriggerOptions = {}) {
    this.#host = host;
    this.#changed = changed;
    this.#options = { pollMs: POLL_MS, ...options };
  }

  /**
   * Watches these host paths and no others from now on. What was not watched before and changed since
   * `sinceMs` (wall clock, milliseconds) counts as a change that was just seen. Where the host is late, what was watched
   * stays so, and all is tried again soon.
   */
  async watch(paths: readonly string[], sinceMs = Number.POSITIVE_INFINITY): Promise<void> {
    clearTimeout(this.#again);
    const turn = ++this.#turn;
    const lates = this.#lates;
    const wanted = new Map<string, Set<string>>();
    const want = (folder: string, name: string) => {
      wanted.set(folder, (wanted.get(folder) ?? new Set()).add(name));
    };
    for (const path of paths) await this.#ask(this.#host.realpath(path, want));
    // Where a newer call has begun, what this one wants is of the past.
    if (turn !== this.#turn) return;
    for (const [folder, known] of this.#watched) {
      if (this.#lates !== lates) wanted.set(folder, new Set([...known.names, ...(wanted.get(folder) ?? [])]));
      else if (!wanted.has(folder)) this.#drop(folder);
    }
    for (const [folder, names] of wanted) {
      const fresh = await this.#add(folder, names);
      if (await this.#changedSince(folder, fresh, sinceMs)) this.#changed(folder);
      if (turn !== this.#turn) return;
    }
    if (this.#lates !== lates)
      this.#again = setTimeout(() => void this.watch(paths, sinceMs), this.#options.pollMs).unref();
    this.#tellUnwatched();
  }

  /** What the host says; undefined where it says nothing, or nothing in time. */
  #ask<T>(answer: Promise<T>): Promise<T | undefined> {
    return answer.catch((error: unknown) => {
      if (error instanceof TimeoutError) this.#lates += 1;
      return undefined;
    });
  }

  /** Makes sure that the folder is watched for these names, and returns those that it was not watched for before. */
  async #add(folder: string, names: ReadonlySet<string>): Promise<readonly string[]> {
    const known = this.#watched.get(folder);
    const lates = this.#lates;
    const { identity } = (await this.#ask(this.#host.stat(folder))) ?? {};
    if (this.#lates !== lates) return [];
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
    const snapshot = before ?? (watcher === undefined ? await this.#snapshot(folder, names) : '');
    this.#watched.set(folder, { watcher, identity, names, snapshot, stale: false });
    return before === undefined ? [...names] : [];
  }

  #open(folder: string): FSWatcher | undefined {
    try {
      const watcher = watch(join(this.#host.root, folder), (_event, name) => this.#onEvent(folder, name));
      watcher.on('error', () => this.#drop(folder));
      return watcher;
    } catch (error) {
      this.#why = (error as NodeJS.ErrnoException).code ?? String(error);
      return undefined;
    }
  }

  #tellUnwatched(): void {
    const unwatched = [...this.#watched.values()].filter(({ watcher }) => watcher === undefined).length;
    if (unwatched !== this.#unwatched) this.#options.onUnwatched?.(unwatched, this.#why);
    this.#unwatched = unwatched;
    this.#pollLater();
  }

  #pollLater(): void {
    if (this.#unwatched === 0) return;
    this.#poll ??= setTimeout(() => void this.#pollAll(), this.#options.pollMs).unref();
  }

  async #pollAll(): Promise<void> {
    for (const [folder, entry] of this.#watched) {
      if (entry.watcher !== undefined) continue;
      const lates = this.#lates;
      const snapshot = await this.#snapshot(folder, entry.names);
      if (this.#lates !== lates) continue;
      if (snapshot !== entry.snapshot) this.#changed(folder);
      entry.snapshot = snapshot;
    }
    this.#poll = undefined;
    this.#pollLater();
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
    this.#turn += 1;
    this.#unwatched = 0;
    clearTimeout(this.#poll);
    clearTimeout(this.#again);
  }

  /** What these names are now: it differs when one changes, comes or goes. A folder changes with each name in it. */
  async #snapshot(folder: string, names: ReadonlySet<string>): Promise<string> {
    const stats = await Promise.all([...names].map((name) => this.#entry(join(folder, name))));
    return stats
      .map((each) => (each?.kind === 'directory' ? each.identity : (each?.fingerprint ?? 'absent')))
      .join();
  }

  /** Whether an entry of these names changed, came or went since then. */
  async #changedSince(folder: string, names: readonly string[], sinceMs: number): Promise<boolean> {
    for (const name of names) {
      // For a path that does not exist, only its folder shows whether it existed a moment ago.
      const seen = (await this.#entry(join(folder, name))) ?? (await this.#entry(folder));
      if (seen !== undefined && seen.changedMs >= sinceMs - CLOCK_TICK_MS) return true;
    }
    return false;
  }

  #entry(path: string): Promise<FileStat | undefined> {
    return this.#ask(this.#host.statEntry(path));
  }
}
