import { type FSWatcher, watch } from 'node:fs';
import { basename, join } from 'node:path';
import { TimeoutError } from '../../lib/base/async.ts';
import type { FileStat, Host } from '../../lib/host/host.ts';

type Watched = {
  /** Undefined when inotify watches are exhausted; the directory is polled instead. */
  readonly watcher: FSWatcher | undefined;
  readonly identity: string;
  names: ReadonlySet<string>;
  snapshot: string;
  /** The directory itself was moved or removed: its path must be watched anew. */
  stale: boolean;
};

/** File times advance with the kernel's timer tick, at least every 10 ms. */
const CLOCK_TICK_MS = 10;
const POLL_MS = 5_000;

export type FileTriggerOptions = {
  /** Called when the number of directories changes that cannot be watched. */
  readonly onUnwatched?: (directories: number, why: string) => void;
  readonly pollMs?: number;
};

/**
 * Watches files of the host, also such that do not exist yet: each directory on the way is watched for the next path
 * component, on the path as written and behind every symbolic link, so that replacing a directory by rename is noticed
 * too. Directories are polled when inotify watches are exhausted.
 */
export class FileTrigger {
  readonly #host: Host;
  readonly #onChange: (path: string) => void;
  readonly #watched = new Map<string, Watched>();
  readonly #options: FileTriggerOptions;
  #unwatched = 0;
  #why = '';
  #poll: NodeJS.Timeout | undefined;
  /** A newer call of `watch` supersedes a running one. */
  #generation = 0;
  #timeouts = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(host: Host, onChange: (path: string) => void, options: FileTriggerOptions = {}) {
    this.#host = host;
    this.#onChange = onChange;
    this.#options = { pollMs: POLL_MS, ...options };
  }

  /**
   * A new path that changed since `sinceMs` (wall clock) is reported at once. If the host times out, existing watches
   * stay and the call is repeated.
   */
  async watch(paths: readonly string[], sinceMs = Number.POSITIVE_INFINITY): Promise<void> {
    clearTimeout(this.#retry);
    const generation = ++this.#generation;
    const timeouts = this.#timeouts;
    const wanted = new Map<string, Set<string>>();
    const want = (directory: string, name: string) => {
      wanted.set(directory, (wanted.get(directory) ?? new Set()).add(name));
    };
    const host = this.#host.glance();
    for (const path of paths) await this.#orUndefined(host.realpath(path, want));
    if (generation !== this.#generation) return;
    for (const [directory, known] of this.#watched) {
      if (this.#timeouts !== timeouts)
        wanted.set(directory, new Set([...known.names, ...(wanted.get(directory) ?? [])]));
      else if (!wanted.has(directory)) this.#drop(directory);
    }
    for (const [directory, names] of wanted) {
      const added = await this.#add(host, directory, names);
      if (await this.#changedSince(directory, added, sinceMs)) this.#onChange(directory);
      if (generation !== this.#generation) return;
    }
    if (this.#timeouts !== timeouts)
      this.#retry = setTimeout(() => void this.watch(paths, sinceMs), this.#options.pollMs).unref();
    this.#reportUnwatched();
  }

  /** Counts timeouts. */
  #orUndefined<T>(operation: Promise<T>): Promise<T | undefined> {
    return operation.catch((error: unknown) => {
      if (error instanceof TimeoutError) this.#timeouts += 1;
      return undefined;
    });
  }

  /** Returns the names that were not watched before. */
  async #add(host: Host, directory: string, names: ReadonlySet<string>): Promise<readonly string[]> {
    const known = this.#watched.get(directory);
    const timeouts = this.#timeouts;
    const { identity } = (await this.#orUndefined(host.stat(directory))) ?? {};
    if (this.#timeouts !== timeouts) return [];
    if (identity === undefined) {
      this.#drop(directory);
      return []; // The directory is gone; its parent is watched for its name.
    }
    if (known?.watcher !== undefined && !known.stale && known.identity === identity) {
      const added = [...names].filter((name) => !known.names.has(name));
      known.names = names;
      return added;
    }
    this.#drop(directory);
    const watcher = this.#open(directory);
    // Compared with its last poll, so its snapshot is carried over.
    const previous = watcher === undefined && known?.watcher === undefined ? known?.snapshot : undefined;
    const snapshot = previous ?? (watcher === undefined ? await this.#snapshot(directory, names) : '');
    this.#watched.set(directory, { watcher, identity, names, snapshot, stale: false });
    return previous === undefined ? [...names] : [];
  }

  #open(directory: string): FSWatcher | undefined {
    try {
      const watcher = watch(join(this.#host.root, directory), (_event, name) =>
        this.#onEvent(directory, name),
      );
      watcher.on('error', () => this.#drop(directory));
      return watcher;
    } catch (error) {
      this.#why = (error as NodeJS.ErrnoException).code ?? String(error);
      return undefined;
    }
  }

  #reportUnwatched(): void {
    const unwatched = [...this.#watched.values()].filter(({ watcher }) => watcher === undefined).length;
    if (unwatched !== this.#unwatched) this.#options.onUnwatched?.(unwatched, this.#why);
    this.#unwatched = unwatched;
    this.#schedulePoll();
  }

  #schedulePoll(): void {
    if (this.#unwatched === 0) return;
    this.#poll ??= setTimeout(() => void this.#pollAll(), this.#options.pollMs).unref();
  }

  async #pollAll(): Promise<void> {
    for (const [directory, entry] of this.#watched) {
      if (entry.watcher !== undefined) continue;
      const timeouts = this.#timeouts;
      const snapshot = await this.#snapshot(directory, entry.names);
      if (this.#timeouts !== timeouts) continue;
      if (snapshot !== entry.snapshot) this.#onChange(directory);
      entry.snapshot = snapshot;
    }
    this.#poll = undefined;
    this.#schedulePoll();
  }

  #onEvent(directory: string, name: string | null): void {
    const entry = this.#watched.get(directory);
    if (entry === undefined) return;
    // inotify reports an event of the directory under its own name, which a file in it may share.
    if (name === basename(directory)) entry.stale = true;
    if (name === null || entry.names.has(name)) this.#onChange(join(directory, name ?? ''));
  }

  #drop(directory: string): void {
    this.#watched.get(directory)?.watcher?.close();
    this.#watched.delete(directory);
  }

  close(): void {
    for (const directory of [...this.#watched.keys()]) this.#drop(directory);
    this.#generation += 1;
    this.#unwatched = 0;
    clearTimeout(this.#poll);
    clearTimeout(this.#retry);
  }

  /** Changes when one of these entries appears, disappears or changes. Of a directory only the identity counts. */
  async #snapshot(directory: string, names: ReadonlySet<string>): Promise<string> {
    const stats = await Promise.all([...names].map((name) => this.#entry(join(directory, name))));
    return stats
      .map((stat) => (stat?.kind === 'directory' ? stat.identity : (stat?.fingerprint ?? 'absent')))
      .join();
  }

  async #changedSince(directory: string, names: readonly string[], sinceMs: number): Promise<boolean> {
    for (const name of names) {
      // The directory's change time covers an entry that was just removed.
      const stat = (await this.#entry(join(directory, name))) ?? (await this.#entry(directory));
      if (stat !== undefined && stat.changedMs >= sinceMs - CLOCK_TICK_MS) return true;
    }
    return false;
  }

  #entry(path: string): Promise<FileStat | undefined> {
    return this.#orUndefined(this.#host.statEntry(path));
  }
}
