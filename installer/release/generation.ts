import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { Release } from './release.ts';

/** Where generations lie on a node. */
export const GENERATIONS = '/usr/local/lib/gvisor';

/** A release with its runsc.toml, in a directory that never changes. */
export type Generation = {
  readonly release: string;
  /** Host path. */
  readonly directory: string;
  readonly shim: string;
  readonly runsc: string;
  /** The file that the handler's ConfigPath names. */
  readonly config: string;
};

/** A change of a file or of a flag gives another directory. */
export function generationOf(release: Release, flags: ReadonlyMap<string, string>): Generation {
  const digest = createHash('sha256');
  for (const { path, sha256 } of release.files.toSorted((a, b) => (a.path < b.path ? -1 : 1)))
    digest.update(`${sha256}  ${path}\n`);
  for (const [flag, value] of [...flags].sort()) digest.update(`${flag}=${value}\n`);
  return generationAt(`${GENERATIONS}/${release.name}-${digest.digest('hex').slice(0, 12)}`);
}

export function generationAt(directory: string): Generation {
  return {
    release: posix.basename(directory).replace(/-[0-9a-f]{12}$/, ''),
    directory,
    shim: `${directory}/containerd-shim-runsc-v1`,
    runsc: `${directory}/runsc`,
    config: `${directory}/runsc.toml`,
  };
}

/** People make other directories beside the installer's. */
export function isGenerationPath(path: string): boolean {
  return path.startsWith(`${GENERATIONS}/`) && /-[0-9a-f]{12}(\/|$)/.test(path);
}

/** Names the generation's own runsc, so that a pod keeps the release that it started with. */
export function runscToml({ runsc }: Generation, flags: ReadonlyMap<string, string>): string {
  const lines = [...flags].map(([flag, value]) => `  ${flag} = ${JSON.stringify(value)}\n`);
  return `binary_name = ${JSON.stringify(runsc)}\n\n[runsc_config]\n${lines.join('')}`;
}

export async function listGenerations(root: string): Promise<readonly Generation[]> {
  const names = await readdir(join(root, GENERATIONS)).catch(() => []);
  const paths = names.map((name) => `${GENERATIONS}/${name}`).sort();
  return paths.filter(isGenerationPath).map(generationAt);
}
