import { readdir, readlink, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readContainerdFiles } from '../lib/node/containerd/config-files.ts';
import type { Host } from '../lib/node/host/host.ts';
import { readJournals } from './journal.ts';
import { GENERATIONS, type Generation, generationAt, isGenerationPath, removeUnfinished } from './release.ts';

/** The installed generations, by name. */
export async function listGenerations(root: string): Promise<readonly Generation[]> {
  const names = await readdir(join(root, GENERATIONS)).catch(() => []);
  const paths = names.map((name) => `${GENERATIONS}/${name}`).sort();
  return paths.filter(isGenerationPath).map(generationAt);
}

/**
 * Processes that run a program of these generations, shims and sentries of pods, and the generation of each. A container may
 * have another program at the same path in its own file system, which does not count.
 */
export async function usersOf(
  root: string,
  generations: readonly Generation[],
): Promise<readonly { readonly pid: number; readonly directory: string }[]> {
  if (generations.length === 0) return [];
  const users = await Promise.all(
    (await listPids(root)).map(async (pid) => {
      const exe = join(root, `/proc/${pid}/exe`);
      const program = await readlink(exe).catch(() => '');
      const used = generations.find(({ directory }) => program.startsWith(`${directory}/`));
      if (used === undefined || !(await isSameFile(exe, join(root, program)))) return [];
      return { pid, directory: used.directory };
    }),
  );
  return users.flat();
}

async function isSameFile(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((path) => stat(path).catch(() => undefined)));
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

/** The PIDs in the node's /proc. */
export async function listPids(root: string): Promise<readonly number[]> {
  const names = await readdir(join(root, '/proc'));
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/**
 * Removes the generations that no journal, unless to take it away, and none of the `named` files of handlers names, and that
 * no process and no `bundled` shim of a sandbox needs; resolves with those that only these need. Without its shim's program
 * containerd deletes a running pod when it restarts, so a generation lives as long as a pod of it. A journal that cannot be
 * read may name any.
 */
export async function removeUnusedGenerations(
  root: string,
  { named, bundled }: { readonly named: readonly string[]; readonly bundled: readonly string[] },
): Promise<readonly string[]> {
  const { journals, broken } = await readJournals(root);
  if (broken.length > 0) return [];
  const kept = journals.flatMap(({ installed, previous, pending, staged = [] }) => [
    ...[installed, previous, pending?.removes ? undefined : pending].map((each) => each?.generation),
    ...staged,
  ]);
  const others = (await listGenerations(root)).filter(
    ({ directory }) => !kept.includes(directory) && !isNamed(directory, named),
  );
  const users = await usersOf(root, others);
  const used = others
    .map(({ directory }) => directory)
    .filter((directory) => isNamed(directory, bundled) || users.some((user) => user.directory === directory));
  for (const { directory } of others)
    if (!used.includes(directory)) await rm(join(root, directory), { recursive: true, force: true });
  await removeUnfinished(join(root, GENERATIONS));
  await rmdir(join(root, GENERATIONS)).catch(() => {}); // others may have files there
  return used;
}

/** Files of generations that containerd would load when it starts next. */
export async function namedInFiles(host: Host, config: string): Promise<readonly string[]> {
  const { files } = await readContainerdFiles(host, config);
  const texts = await Promise.all(files.map(({ path }) => host.readText(path)));
  return texts.flatMap((text) => text?.match(PATH) ?? []).filter(isGenerationPath);
}

const PATH = new RegExp(`${GENERATIONS}/[^\\s"']+`, 'g');

/** Whether one of the paths leads into a generation's directory. */
export function isNamed(directory: string, paths: readonly string[]): boolean {
  return paths.some((path) => path.startsWith(`${directory}/`));
}
