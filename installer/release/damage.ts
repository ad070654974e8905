import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Host } from '../../lib/host/host.ts';
import { readRunscConfig } from '../../lib/runsc/config.ts';
import { Refusal } from '../base/refusal.ts';
import { type Generation, generationOf, runscToml } from './generation.ts';
import { MANIFEST, parseRelease, type Release, type ReleaseFile } from './release.ts';

/** Refuses, and names the first file that is not as its release made it. */
export async function refuseDamage(root: string, generation: Generation): Promise<void> {
  const { directory } = generation;
  const [file] = await damagedFiles(root, generation);
  if (file === undefined) return;
  throw new Refusal('stage', {
    what: `"${directory}/${file}" is damaged or missing`,
    next: 'Install that release again, which repairs it',
  });
}

export async function damagedFiles(root: string, generation: Generation): Promise<readonly string[]> {
  const at = join(root, generation.directory);
  const manifest = await readFile(join(at, MANIFEST), 'utf8').catch(() => '');
  let release: Release;
  try {
    release = parseRelease(manifest, MANIFEST);
  } catch {
    return [MANIFEST];
  }
  const { flags } = await readRunscConfig(new Host(root), generation.config);
  const isSame = generationOf(release, flags).directory === generation.directory;
  const toml = { path: 'runsc.toml', sha256: hash('sha256', isSame ? runscToml(generation, flags) : '') };
  return (await missingFiles(at, [...release.files, toml])).map(({ path }) => path);
}

export async function missingFiles(
  directory: string,
  files: readonly ReleaseFile[],
): Promise<readonly ReleaseFile[]> {
  const lacks: ReleaseFile[] = [];
  for (const file of files)
    if ((await digestOf(join(directory, file.path)).catch(() => '')) !== file.sha256) lacks.push(file);
  return lacks;
}

export async function digestOf(file: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(file), digest);
  return digest.digest('hex');
}
