import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, lstat, mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Refusal } from '../base/refusal.ts';
import { syncDirectory } from '../base/whole-file.ts';
import { digestOf, missingFiles } from './damage.ts';
import { type Generation, runscToml } from './generation.ts';
import { MANIFEST, type Release } from './release.ts';

/**
 * Each file that is missing or differs is copied beside its place, compared with its digest, synced to the
 * disk, and renamed. Resolves with their number. After a failure a new generation is gone.
 */
export async function copyRelease(
  source: string,
  release: Release,
  to: { readonly root: string; readonly generation: Generation; readonly flags: ReadonlyMap<string, string> },
): Promise<number> {
  const { root, generation, flags } = to;
  const target = join(root, generation.directory);
  const texts: Readonly<Record<string, string>> = {
    'runsc.toml': runscToml(generation, flags),
    [MANIFEST]: `${JSON.stringify(release, null, 2)}\n`,
  };
  const files = await missingFiles(target, [
    ...release.files,
    ...Object.entries(texts).map(([path, text]) => ({ path, sha256: hash('sha256', text) })),
  ]);
  const isNew = !existsSync(target);
  let bytes = 0;
  for (const { path, sha256: wanted } of files) {
    const [original, place] = [join(source, path), join(target, path)];
    const draft = `${place}.unfinished`;
    const content = texts[path];
    try {
      bytes += content === undefined ? await sizeOf(original) : 0;
      if (bytes > MAX_BYTES)
        throw new Refusal('stage', {
          what: `The release in "${source}" is larger than 1 GiB: none of gVisor is`,
        });
      await mkdir(dirname(place), { recursive: true, mode: 0o755 });
      if (content === undefined) await copyFile(original, draft);
      else await writeFile(draft, content);
      if ((await digestOf(draft)) !== wanted)
        throw new Refusal('stage', { what: `"${original}" has another SHA-256 than in the manifest` });
      await sync(draft, content === undefined ? 0o755 : 0o644);
      await rename(draft, place);
      await syncDirectory(dirname(place));
    } catch (cause) {
      await rm(isNew ? target : draft, { recursive: true, force: true });
      throw cause instanceof Refusal ? cause : new Error(`Cannot copy the release to "${place}"`, { cause });
    }
  }
  for (const directory of files.length > 0 ? [target, dirname(target)] : []) await syncDirectory(directory);
  return files.length;
}

/** More than a release of gVisor has. */
const MAX_BYTES = 2 ** 30;

/** Takes files alone, because a link leads elsewhere and a pipe never ends. */
async function sizeOf(file: string): Promise<number> {
  const seen = await lstat(file).catch(() => undefined);
  if (seen?.isFile()) return seen.size;
  throw new Refusal('stage', { what: `"${file}" of the release is missing, or a link, pipe or device` });
}

async function sync(file: string, mode: number): Promise<void> {
  await using handle = await open(file, 'r+');
  await handle.chmod(mode);
  await handle.sync();
}
