import { basename, dirname, resolve } from 'node:path';
import type { Host } from '../host/host.ts';

/** What the host says; undefined where it says nothing. */
type Ask = <T>(answer: Promise<T>) => Promise<T | undefined>;

/**
 * The folders on the way to these paths, as written and behind each of their symbolic links, with the names in each that
 * lead on.
 */
export async function foldersTo(
  paths: readonly string[],
  host: Host,
  ask: Ask,
): Promise<Map<string, ReadonlySet<string>>> {
  const wanted = new Map<string, Set<string>>();
  const done = new Set<string>();
  const follow = async (path: string): Promise<void> => {
    for (let at = path; at !== '/' && !done.has(at); at = dirname(at)) {
      done.add(at);
      const folder = await ask(host.realpath(dirname(at)));
      if (folder === undefined) continue;
      wanted.set(folder, (wanted.get(folder) ?? new Set()).add(basename(at)));
      const link = await ask(host.readLink(at)); // EINVAL: it is no link
      if (link !== undefined) await follow(resolve(folder, link));
    }
  };
  for (const path of paths) await follow(path);
  return wanted;
}
