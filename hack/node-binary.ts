import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { partial, removeAbandoned } from './abandoned.ts';
import { CACHE, REPO } from './paths.ts';
import { run } from './run.ts';

/** A processor architecture as Node names it. */
export type NodeArchitecture = 'x64' | 'arm64';

type Lock = {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>;
};

/** The version of Node that the lock file pins for an architecture, and the digest of the package that holds it. */
export async function pinnedNode(
  architecture: NodeArchitecture,
): Promise<{ readonly version: string; readonly integrity: string }> {
  const lock = JSON.parse(await readFile(join(REPO, 'package-lock.json'), 'utf8')) as Lock;
  const pinned = lock.packages[`node_modules/node-linux-${architecture}`];
  if (pinned === undefined) throw new Error(`The lock file has no node-linux-${architecture}`);
  return pinned;
}

/**
 * The path of the pinned Node binary for an architecture. `npm ci` installs that of this machine alone; another one is
 * packed by npm, held to the digest in the lock file, and kept in the cache.
 */
export async function nodeBinary(architecture: NodeArchitecture): Promise<string> {
  const name = `node-linux-${architecture}`;
  const installed = join(REPO, 'node_modules', name, 'bin/node');
  if (existsSync(installed)) return installed;
  const { version, integrity } = await pinnedNode(architecture);
  const folder = join(CACHE, 'node', `${name}-${version}`);
  if (!existsSync(folder)) await unpack(`${name}@${version}`, integrity, folder);
  return join(folder, 'package/bin/node');
}

async function unpack(specifier: string, integrity: string, folder: string): Promise<void> {
  await removeAbandoned(join(CACHE, 'node'));
  const work = partial(folder);
  await mkdir(work);
  try {
    const options = { cwd: work, timeoutMs: 10 * 60_000 };
    const [archive = ''] = (await run('npm', ['pack', '--silent', specifier], options)).trim().split('\n');
    const digest = createHash('sha512').update(await readFile(join(work, archive)));
    const seen = `sha512-${digest.digest('base64')}`;
    if (seen !== integrity) throw new Error(`${specifier} is ${seen}, and the lock file says ${integrity}`);
    await run('tar', ['-xzf', archive, 'package/bin/node', 'package/LICENSE'], options);
    await rm(join(work, archive));
    await rename(work, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
