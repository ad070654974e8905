import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** {@link removeAbandoned} removes the path if this process dies. */
export function partial(path: string): string {
  return `${path}.partial-${process.pid}`;
}

/** Readers see the old content or the whole new one, even after a kill. */
export async function replaceFile(path: string, content: string, mode = 0o644): Promise<void> {
  await writeFile(partial(path), content, { mode });
  await rename(partial(path), path);
}

/**
 * Makes a file or directory of the cache, unless it is there. `make` gets a path beside it and returns the result: that
 * path, or one below it. The result is renamed into place, and all else removed.
 */
export async function makeOnce(path: string, make: (work: string) => Promise<string>): Promise<void> {
  if (existsSync(path)) return;
  await removeAbandoned(dirname(path));
  const work = partial(path);
  try {
    await rename(await make(work), path).catch((error) => {
      if (!existsSync(path)) throw error; // another process was faster
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Creates `directory`, and removes the {@link partial} paths of dead processes. */
export async function removeAbandoned(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const entry of await readdir(directory)) {
    const pid = /\.partial-(\d+)$/.exec(entry)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await rm(join(directory, entry), { recursive: true, force: true });
  }
}
