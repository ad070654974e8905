import type { Stats } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Makes renames in a directory survive a power loss. */
export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}

/** In one step that survives a power loss. Mode, owner and times are those of `like`. */
export async function writeWhole(
  root: string,
  file: string,
  content: string | Buffer,
  like?: Stats,
): Promise<void> {
  const path = join(root, file);
  const draft = draftOf(path);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeDraft(draft, content, like);
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {});
    throw new Error(`Cannot write "${file}"`, { cause });
  }
}

export async function writeDraft(draft: string, content: string | Buffer, like?: Stats): Promise<void> {
  await using handle = await open(draft, 'w', 0o600);
  if (like !== undefined) await handle.chown(like.uid, like.gid);
  await handle.chmod((like?.mode ?? 0o644) & 0o7777);
  await handle.writeFile(content);
  if (like !== undefined) await handle.utimes(like.atime, like.mtime);
  await handle.sync();
}

export function draftOf(file: string): string {
  return `${file}.gvisor-ready-new`;
}
