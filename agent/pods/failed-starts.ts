import { type FSWatcher, watch } from 'node:fs';
import type { CriClient } from '../../lib/containerd/client.ts';
import type { Host } from '../../lib/host/host.ts';

export type FailedStartsOptions = {
  readonly client: Pick<CriClient, 'bundles' | 'listSandboxes' | 'listPodContainers'>;
  readonly host: Host;
  /** Whether a probe of this agent came or went then, by a monotonic clock. */
  readonly isProbe?: ((ms: number) => boolean) | undefined;
};

/**
 * Finds sandboxes that failed to start: their bundles came and went since the last look, and containerd lists them
 * neither as a sandbox nor as a container, as it does with a container that ended quickly. So neither pods that come
 * and go nor containers that crash count.
 */
export class FailedStarts {
  readonly #options: FailedStartsOptions;
  #watched: { readonly watcher: FSWatcher; readonly identity: string } | undefined;
  /** When a name was last seen to come or go. */
  #events = new Map<string, number>();
  #present: ReadonlySet<string> = new Set();

  constructor(options: FailedStartsOptions) {
    this.#options = options;
  }

  /** Their ids; undefined if the directory of bundles was not watched. Rejects if containerd lists nothing. */
  async look(signal: AbortSignal): Promise<readonly string[] | undefined> {
    const { client, host, isProbe } = this.#options;
    const isWatched = await this.#watch();
    const events = this.#events;
    this.#events = new Map();
    const before = this.#present;
    this.#present = new Set(await host.list(client.bundles).catch(() => []));
    if (!isWatched) return undefined;
    const passed = [...events].flatMap(([name, ms]) => {
      const isShort = !before.has(name) && !this.#present.has(name);
      return isShort && !isProbe?.(ms) ? name : [];
    });
    if (passed.length === 0) return [];
    const lists = [client.listSandboxes('all', { signal }), client.listPodContainers({ signal })];
    const listed = new Set((await Promise.all(lists)).flat().map(({ id }) => id));
    return passed.filter((id) => !listed.has(id));
  }

  close(): void {
    this.#watched?.watcher.close();
    this.#watched = undefined;
  }

  /** Whether it has been watched since the last look. */
  async #watch(): Promise<boolean> {
    const { client, host } = this.#options;
    const { identity } = (await host.stat(client.bundles).catch(() => undefined)) ?? {};
    if (identity !== undefined && this.#watched?.identity === identity) return true;
    this.close();
    const path = await host.localPath(client.bundles).catch(() => undefined);
    if (identity === undefined || path === undefined) return false;
    try {
      const watcher = watch(path, (_event, name) => {
        // containerd renames a bundle to a hidden name before it deletes it.
        if (name !== null && !name.startsWith('.')) this.#events.set(name, performance.now());
      });
      watcher.on('error', () => this.close());
      watcher.unref();
      this.#watched = { watcher, identity };
    } catch {
      // Polled instead, when inotify watches are exhausted.
    }
    return false;
  }
}
