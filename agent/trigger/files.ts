import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Host } from '../host/host.ts';

/**
 * Watches files of the host, those that do not exist yet too: every folder on the way to a file is
 * watched for the name that leads on, on the path as written and on the one behind its symbolic links.
 * So a folder that is replaced by rename, or appears, is noticed as well.
 */
export class FileTrigger {
  readonly #host: Host;
  readonly #changed: (path: string) => void;
  readonly #watched = new Map<string, { watcher: FSWatcher; names: Set<string> }>();

  constructor(host: Host, changed: (path: string) => void) {
    this.#host = host;
    this.#changed = changed;
  }

  /** Watches these host paths and no others from now on. */
  async watch(paths: Iterable<string>): Promise<void> {
    const wanted = new Map<string, Set<string>>();
    for (const path of paths) {
      await this.#want(wanted, path);
      const real = await this.#host.realpath(path).catch(() => undefined);
      if (real !== undefined && real !== path) await this.#want(wanted, real);
    }
    for (const [folder, { watcher }] of this.#watched) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#watched.delete(folder);
    }
    for (const [folder, names] of wanted) this.#add(folder, names);
  }

  async #want(wanted: Map<string, Set<string>>, path: string): Promise<void> {
    for (let at = path; at !== '/'; at = dirname(at)) {
      const folder = await this.#host.localPath(dirname(at)).catch(() => undefined);
      if (folder === undefined) continue;
      const names = wanted.get(folder) ?? new Set();
      wanted.set(folder, names.add(basename(at)));
    }
  }

  #add(folder: string, names: Set<string>): void {
    const known = this.#watched.get(folder);
    if (known !== undefined) {
      known.names = names;
      return;
    }
    try {
      const watcher = watch(folder, (_event, name) => {
        const entry = this.#watched.get(folder);
        if (entry === undefined || (name !== null && !entry.names.has(name) && name !== basename(folder)))
          return;
        // A watch follows the folder itself, not its name: after a rename of the folder it must be set anew.
        if (name === basename(folder) && !entry.names.has(name)) this.#drop(folder);
        this.#changed(join(folder, name ?? ''));
      });
      watcher.on('error', () => this.#drop(folder));
      this.#watched.set(folder, { watcher, names });
    } catch {
      // The folder went away, or watches are used up: the periodic look still sees it.
    }
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
