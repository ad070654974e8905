import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A path for unfinished work of this process. If the process is killed, {@link removeAbandoned} removes it. */
export function partial(path: string): string {
  return `${path}.partial-${process.pid}`;
}

/** Removes from `folder`, which is made if missing, what killed processes left half made. */
export async function removeAbandoned(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const entry of await readdir(folder)) {
    const pid = /\.partial-(\d+)$/.exec(entry)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await rm(join(folder, entry), { recursive: true, force: true });
  }
}

/** A command that the kernel ends when this process ends, however it ends; for root with all its children. */
export function killWithParent(
  command: string,
  args: readonly string[],
): readonly [string, readonly string[]] {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return [command, args];
  const own = ['unshare', '--pid', '--fork', '--kill-child=SIGKILL', '--', command, ...args];
  return ['setpriv', ['--pdeathsig', 'KILL', '--', ...own]];
}
