import { readdir, readlink, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readJournal } from './journal.ts';
import { GENERATIONS, type Generation, generationAt } from './release.ts';

/** The installed generations, by name. */
export async function listGenerations(root: string): Promise<readonly Generation[]> {
  const names = await readdir(join(root, GENERATIONS)).catch(() => []);
  const whole = names.filter((name) => !name.startsWith('.')).sort();
  return whole.map((name) => generationAt(`${GENERATIONS}/${name}`));
}

/** Processes that run a program of these generations: shims and sentries of pods. */
export async function usersOf(
  root: string,
  generations: readonly Generation[],
): Promise<readonly { readonly pid: number; readonly program: string }[]> {
  const pids = (await readdir(join(root, '/proc'))).filter((name) => /^\d+$/.test(name));
  const programs = await Promise.all(
    pids.map(async (pid) => ({
      pid: Number(pid),
      program: await readlink(join(root, `/proc/${pid}/exe`)).catch(() => ''),
    })),
  );
  return programs.filter(({ program }) =>
    generations.some(({ directory }) => program.startsWith(`${directory}/`)),
  );
}

/**
 * Removes the generations that are neither installed nor the previous one, and that no process uses. Without its shim's
 * program containerd deletes a running pod when it restarts, so a generation lives as long as a pod of it.
 */
export async function removeUnusedGenerations(root: string): Promise<void> {
  const journal = await readJournal(root);
  const kept = [journal?.installed, journal?.previous, journal?.pending].map((each) => each?.generation);
  for (const generation of await listGenerations(root)) {
    if (kept.includes(generation.directory)) continue;
    if ((await usersOf(root, [generation])).length === 0) await removeGeneration(root, generation);
  }
}

export async function removeAllGenerations(root: string): Promise<void> {
  for (const generation of await listGenerations(root)) await removeGeneration(root, generation);
  await rmdir(join(root, GENERATIONS)).catch(() => {}); // it holds something else
}

async function removeGeneration(root: string, { directory }: Generation): Promise<void> {
  await rm(join(root, directory), { recursive: true, force: true });
}
