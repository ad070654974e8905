import { readdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readJournal } from './journal.ts';
import { GENERATIONS, type Generation, generationAt, isGenerationPath, removeUnfinished } from './release.ts';

/** The installed generations, by name. */
export async function listGenerations(root: string): Promise<readonly Generation[]> {
  const names = await readdir(join(root, GENERATIONS)).catch(() => []);
  const paths = names.map((name) => `${GENERATIONS}/${name}`).sort();
  return paths.filter(isGenerationPath).map(generationAt);
}

/** Processes that run a program of these generations, shims and sentries of pods, and the generation of each. */
export async function usersOf(
  root: string,
  generations: readonly Generation[],
): Promise<readonly { readonly pid: number; readonly directory: string }[]> {
  if (generations.length === 0) return [];
  const users = await Promise.all(
    (await listPids(root)).map(async (pid) => {
      const program = await readlink(join(root, `/proc/${pid}/exe`)).catch(() => '');
      const used = generations.find(({ directory }) => program.startsWith(`${directory}/`));
      return used === undefined ? [] : { pid, directory: used.directory };
    }),
  );
  return users.flat();
}

/** The PIDs in the node's /proc. */
export async function listPids(root: string): Promise<readonly number[]> {
  const names = await readdir(join(root, '/proc'));
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/**
 * Removes the generations that are neither installed nor the previous one, and that no process uses. Without its shim's
 * program containerd deletes a running pod when it restarts, so a generation lives as long as a pod of it.
 */
export async function removeUnusedGenerations(root: string): Promise<void> {
  const journal = await readJournal(root);
  const kept = [journal?.installed, journal?.previous, journal?.pending].map((each) => each?.generation);
  const others = (await listGenerations(root)).filter(({ directory }) => !kept.includes(directory));
  const users = await usersOf(root, others);
  for (const generation of others)
    if (!users.some(({ directory }) => directory === generation.directory))
      await removeGeneration(root, generation);
}

export async function removeAllGenerations(root: string): Promise<void> {
  for (const generation of await listGenerations(root)) await removeGeneration(root, generation);
  await removeUnfinished(join(root, GENERATIONS));
}

async function removeGeneration(root: string, { directory }: Generation): Promise<void> {
  await rm(join(root, directory), { recursive: true, force: true });
}
