import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Refusal } from './node.ts';

/** One program of a release: its path in the release's directory, and the SHA-256 of its content in hexadecimal. */
export type ReleaseFile = { readonly path: string; readonly sha256: string };

/** A release of gVisor as its image carries it: `manifest.json` beside the files that it lists. */
export type Release = {
  /** Such as "release-20260223.0". */
  readonly name: string;
  /** Node's name of the architecture, such as "x64". */
  readonly arch: string;
  readonly files: readonly ReleaseFile[];
};

export const MANIFEST = 'manifest.json';
const REQUIRED = ['runsc', 'containerd-shim-runsc-v1'];

/** Reads and checks a release's manifest; throws a {@link Refusal} where it is no release for this machine. */
export async function readRelease(directory: string): Promise<Release> {
  const file = join(directory, MANIFEST);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('release', `Cannot read the release's manifest "${file}": ${error.code}`);
  });
  const release = parseRelease(text, file);
  if (release.arch !== process.arch)
    throw new Refusal(
      'release',
      `"${file}" is a release for ${release.arch}, and this machine is ${process.arch}`,
    );
  return release;
}

export function parseRelease(text: string, file: string): Release {
  let parsed: Partial<Release> | null;
  try {
    parsed = JSON.parse(text) as Partial<Release> | null;
  } catch (cause) {
    throw new Refusal('release', `"${file}" is not JSON`, { cause });
  }
  const { name, arch, files } = parsed ?? {};
  const isFile = (each: Partial<ReleaseFile> | null) =>
    typeof each?.path === 'string' &&
    /^[\w.-]+(\/[\w.-]+)*$/.test(each.path) &&
    !each.path.split('/').includes('..') &&
    /^[0-9a-f]{64}$/.test(String(each.sha256));
  const isRelease =
    typeof name === 'string' &&
    /^[\w.+~-]{1,60}$/.test(name) &&
    typeof arch === 'string' &&
    Array.isArray(files) &&
    files.every(isFile);
  if (!isRelease) throw new Refusal('release', `"${file}" is not a manifest with name, arch and files`);
  const missing = REQUIRED.filter((path) => !files.some((each) => each.path === path));
  if (missing.length > 0) throw new Refusal('release', `"${file}" lists no ${missing.join(' and no ')}`);
  return { name, arch, files };
}

/** Where generations lie on a node. */
export const GENERATIONS = '/usr/local/lib/gvisor';

/** A release with its runsc.toml, installed in a directory of its own that never changes. */
export type Generation = {
  readonly release: string;
  /** Host path. */
  readonly directory: string;
  readonly shim: string;
  readonly runsc: string;
  /** The file that the handler's ConfigPath names. */
  readonly config: string;
};

/** The paths of a release's generation with these runsc flags; a change of a file or of a flag gives another directory. */
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

/** Whether a path leads into a directory that the installer has made; people make others beside it. */
export function isGenerationPath(path: string): boolean {
  return path.startsWith(`${GENERATIONS}/`) && /-[0-9a-f]{12}(\/|$)/.test(path);
}

/** The shim's file of a generation: its own runsc, so that a pod keeps the release that it started with. */
export function runscToml({ runsc }: Generation, flags: ReadonlyMap<string, string>): string {
  const lines = [...flags].map(([flag, value]) => `  ${flag} = ${JSON.stringify(value)}\n`);
  return `binary_name = ${JSON.stringify(runsc)}\n\n[runsc_config]\n${lines.join('')}`;
}

/**
 * Installs a generation: copies its files to a temporary directory, compares their digests, syncs them to the disk and
 * renames the directory. Resolves with false if the generation was there already, its files unchanged.
 */
export async function stage(
  source: string,
  release: Release,
  {
    root,
    generation,
    flags,
  }: { readonly root: string; readonly generation: Generation; readonly flags: ReadonlyMap<string, string> },
): Promise<boolean> {
  const target = join(root, generation.directory);
  const toml = runscToml(generation, flags);
  if (await isDirectory(target)) {
    await verifyGeneration(root, generation, [
      ...release.files,
      { path: 'runsc.toml', sha256: createHash('sha256').update(toml).digest('hex') },
    ]);
    return false;
  }
  await mkdir(dirname(target), { recursive: true, mode: 0o755 });
  await removeUnfinished(dirname(target));
  const draft = `${dirname(target)}/${UNFINISHED}${randomUUID().slice(0, 8)}`;
  try {
    for (const { path, sha256 } of release.files) {
      const copy = join(draft, path);
      await mkdir(dirname(copy), { recursive: true, mode: 0o755 });
      await copyFile(join(source, path), copy);
      const seen = await digestOf(copy);
      if (seen !== sha256)
        throw new Refusal(
          'stage',
          `"${join(source, path)}" has the SHA-256 ${seen}, and the manifest says ${sha256}`,
        );
      await sync(copy, 0o755);
    }
    await writeFile(join(draft, 'runsc.toml'), toml);
    await writeFile(join(draft, MANIFEST), `${JSON.stringify(release, null, 2)}\n`);
    for (const name of ['runsc.toml', MANIFEST]) await sync(join(draft, name), 0o644);
    const directories = release.files.map(({ path }) => dirname(join(draft, path)));
    for (const directory of new Set([...directories, draft])) await syncDirectory(directory);
    await rename(draft, target);
    await syncDirectory(dirname(target));
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
  return true;
}

const UNFINISHED = '.unfinished-';

/** What an interrupted installation left; the lock guarantees that no other runs. */
export async function removeUnfinished(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => []))
    if (name.startsWith(UNFINISHED)) await rm(join(directory, name), { recursive: true, force: true });
}

/** Throws a {@link Refusal} that names the first file of a generation that is not as its release made it. */
async function verifyGeneration(
  root: string,
  generation: Generation,
  files: readonly ReleaseFile[],
): Promise<void> {
  for (const { path, sha256 } of files) {
    const file = `${generation.directory}/${path}`;
    const seen = await digestOf(join(root, file)).catch(
      (error: NodeJS.ErrnoException) => error.code ?? 'unreadable',
    );
    if (seen === sha256) continue;
    const next = 'Move the directory away, and install again';
    throw new Refusal(
      'stage',
      `"${file}" was changed since it was installed (SHA-256 ${seen}, not ${sha256}). ${next}`,
    );
  }
}

export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (seen) => seen.isDirectory(),
    () => false,
  );
}

async function digestOf(file: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(file), digest);
  return digest.digest('hex');
}

async function sync(file: string, mode: number): Promise<void> {
  await using handle = await open(file, 'r+');
  await handle.chmod(mode);
  await handle.sync();
}

/** Makes renames in a directory survive a power loss. */
export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}
