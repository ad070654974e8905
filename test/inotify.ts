import { readFile, writeFile } from 'node:fs/promises';

const LIMIT = '/proc/sys/fs/inotify/max_user_instances';
/** A cluster of three nodes takes some 35. */
const ENOUGH = 512;

/**
 * Lets root have as many inotify instances as the clusters of all lanes take: the kernel's default of 128 is little
 * for four of them. Gives what puts the limit back. Where it cannot be raised, a cluster that lacks some says so.
 */
export async function allowInotify(): Promise<() => Promise<void>> {
  const before = await readFile(LIMIT, 'utf8');
  if (Number(before) >= ENOUGH) return async () => {};
  return writeFile(LIMIT, String(ENOUGH)).then(
    () => () => writeFile(LIMIT, before),
    () => async () => {},
  );
}
