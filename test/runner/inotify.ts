import { readFile, writeFile } from 'node:fs/promises';

const LIMIT = '/proc/sys/fs/inotify/max_user_instances';
/** A cluster of three nodes takes some 35, and five clusters run at once. */
const ENOUGH = 512;

/**
 * Raises root's limit of inotify instances, whose default of 128 is too low for four clusters. Returns a function that
 * restores it. If the limit cannot be raised, a cluster reports that it ran out of instances.
 */
export async function raiseInotifyLimit(): Promise<() => Promise<void>> {
  const before = await readFile(LIMIT, 'utf8');
  if (Number(before) >= ENOUGH) return async () => {};
  return writeFile(LIMIT, String(ENOUGH)).then(
    () => () => writeFile(LIMIT, before),
    () => async () => {},
  );
}
