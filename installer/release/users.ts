import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Host } from '../../lib/host/host.ts';
import { bundleOf, isSameFile, listPids } from '../base/processes.ts';
import type { Generation } from './generation.ts';

/**
 * Finds shims, sentries and gofers by generation, with their bundles. A container may have another program at the same path in
 * its own file system, which does not count. On Fedora CoreOS /usr/local is a link, and a process has the path
 * behind it.
 */
export async function usersOf(root: string, generations: readonly Generation[]) {
  if (generations.length === 0) return [];
  const host = new Host(root);
  const places = await Promise.all(
    generations.map(async ({ directory }) => [directory, (await host.realpath(directory)) ?? directory]),
  );
  const users = await Promise.all(
    (await listPids(root)).map(async (pid) => {
      const exe = join(root, `/proc/${pid}/exe`);
      const program = await readlink(exe).catch(() => '');
      const used = generations.find((_, at) => places[at]?.some((each) => program.startsWith(`${each}/`)));
      if (used === undefined || !(await isSameFile(exe, join(root, program)))) return [];
      return { directory: used.directory, bundle: await bundleOf(root, pid) };
    }),
  );
  return users.flat();
}
