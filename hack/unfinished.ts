import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** {@link removeAbandoned} removes the path if this process dies. */
export function partial(path: string): string {
  return `${path}.partial-${process.pid}`;
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
