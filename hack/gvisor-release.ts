import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MANIFEST, type Release } from '../installer/release.ts';

/** Makes a directory with a release: copies its programs, given by their paths in it, and writes their digests down. */
export async function packRelease(
  directory: string,
  name: string,
  programs: Readonly<Record<string, string>>,
): Promise<void> {
  const files: { path: string; sha256: string }[] = [];
  for (const [path, source] of Object.entries(programs).sort()) {
    await mkdir(join(directory, dirname(path)), { recursive: true });
    await copyFile(source, join(directory, path));
    files.push({
      path,
      sha256: createHash('sha256')
        .update(await readFile(source))
        .digest('hex'),
    });
  }
  const release: Release = { name, arch: process.arch, files };
  await writeFile(join(directory, MANIFEST), `${JSON.stringify(release, null, 2)}\n`);
}
