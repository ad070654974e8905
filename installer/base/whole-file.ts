import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** Makes renames in a directory survive a power loss. */
export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}

/** Writes in one step that survives a power loss. A file that is there keeps all but its content if `kept` is its state. */
export async function writeWhole(
  root: string,
  file: string,
  content: string | Buffer,
  kept?: Stats,
): Promise<void> {
  const path = join(root, file);
  const draft = draftOf(path);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    // Node has no call for extended attributes. cp fails if it cannot keep them.
    if (kept !== undefined) await promisify(execFile)('cp', [...KEEP_ALL, path, draft]);
    await writeDraft(draft, content, kept);
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {});
    throw new Error(`Cannot write "${file}"`, { cause });
  }
}

const KEEP_ALL = ['--archive', '--preserve=xattr', '--'] as const;

/** If `kept` is given, the draft is a copy of a file with this state. */
export async function writeDraft(draft: string, content: string | Buffer, kept?: Stats): Promise<void> {
  await using handle = await open(draft, 'w', 0o600);
  if (kept === undefined) await handle.chmod(0o644);
  await handle.writeFile(content);
  if (kept !== undefined) await handle.utimes(kept.atime, kept.mtime);
  await handle.sync();
}

export function draftOf(file: string): string {
  return `${file}.gvisor-ready-new`;
}
