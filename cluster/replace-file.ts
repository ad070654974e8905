import { readFile, rename, stat, writeFile } from 'node:fs/promises';

/** Readers see the old content or the whole new one, even after a kill. */
export async function replaceFile(path: string, content: string, mode = 0o644): Promise<void> {
  await writeFile(`${path}.new`, content, { mode });
  await rename(`${path}.new`, path);
}

/** Executable, and with the same content. */
export async function isCopy(source: string, path: string): Promise<boolean> {
  const [wanted, seen] = await Promise.all([stat(source), stat(path).catch(() => undefined)]);
  if (seen === undefined || seen.size !== wanted.size || (seen.mode & 0o111) === 0) return false;
  const [content, copied] = await Promise.all([readFile(source), readFile(path)]);
  return content.equals(copied);
}
