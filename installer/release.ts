import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Host } from '../lib/node/host/host.ts';
import { readRunscConfig } from '../lib/node/runsc/config.ts';
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
  if (release.arch === process.arch) return release;
  const what = `"${file}" is a release for ${release.arch}, and this machine is ${process.arch}`;
  throw new Refusal('release', what);
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
 * renames the directory. In one that is there, the files that differ are replaced one by one.
 */
export async function stage(
  source: string,
  release: Release,
  {
    root,
    generation,
    flags,
  }: { readonly root: string; readonly generation: Generation; readonly flags: ReadonlyMap<string, string> },
): Promise<'new' | 'unchanged' | 'repaired'> {
  const target = join(root, generation.directory);
  const texts = {
    'runsc.toml': runscToml(generation, flags),
    [MANIFEST]: `${JSON.stringify(release, null, 2)}\n`,
  };
  const isThere = await isDirectory(target);
  const files = await missing(target, [
    ...release.files,
    ...Object.entries(texts).map(([path, text]) => ({ path, sha256: sha256(text) })),
  ]);
  if (files.length === 0) return 'unchanged';
  await refuseSource(source, release);
  await mkdir(dirname(target), { recursive: true, mode: 0o755 });
  await removeUnfinished(dirname(target));
  const draft = `${dirname(target)}/${UNFINISHED}${randomUUID().slice(0, 8)}`;
  try {
    for (const { path, sha256: wanted } of files) {
      const copy = join(draft, path);
      await mkdir(dirname(copy), { recursive: true, mode: 0o755 });
      const text = texts[path as keyof typeof texts];
      if (text === undefined) await copyFile(join(source, path), copy);
      else await writeFile(copy, text);
      if ((await digestOf(copy)) !== wanted)
        throw new Refusal('stage', `"${join(source, path)}" has another SHA-256 than in the manifest`);
      await sync(copy, text === undefined ? 0o755 : 0o644);
    }
    const directories = new Set(files.flatMap(({ path }) => [dirname(path), '.']));
    for (const directory of directories) await syncDirectory(join(draft, directory));
    if (!isThere) await rename(draft, target);
    for (const { path } of isThere ? files : []) {
      await mkdir(dirname(join(target, path)), { recursive: true, mode: 0o755 });
      await rename(join(draft, path), join(target, path));
      await syncDirectory(dirname(join(target, path)));
    }
    await syncDirectory(dirname(target));
  } catch (cause) {
    throw cause instanceof Refusal
      ? cause
      : new Error(`Cannot copy the release to "${generation.directory}"`, { cause });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return isThere ? 'repaired' : 'new';
}

/** More than a release of gVisor has. */
const MAX_BYTES = 2 ** 30;

/** Only files are copied, because a link leads elsewhere and a pipe never ends, and no more than fits. */
async function refuseSource(source: string, { files }: Release): Promise<void> {
  let bytes = 0;
  for (const { path } of files) {
    const file = join(source, path);
    const seen = await lstat(file).catch((error: NodeJS.ErrnoException) => error.code);
    if (typeof seen !== 'object' || !seen.isFile()) {
      const kind = typeof seen === 'string' ? seen : 'link, pipe or device';
      throw new Refusal('stage', `"${file}" of the release is not a file (${kind})`);
    }
    bytes += seen.size;
  }
  const what = `The release in "${source}" is larger than 1 GiB, which no release of gVisor is`;
  if (bytes > MAX_BYTES) throw new Refusal('stage', what);
}

/** Throws a {@link Refusal} that names the first file of a generation that is not as its release made it. */
export async function refuseDamage(root: string, generation: Generation): Promise<void> {
  const { directory } = generation;
  const [file] = await damagedFiles(root, generation);
  if (file === undefined) return;
  const next = 'Install that release again, which repairs it';
  throw new Refusal('stage', `"${directory}/${file}" is damaged or missing. ${next}`);
}

/** The files of a generation that are not as its release made them. */
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
  const toml = { path: 'runsc.toml', sha256: sha256(isSame ? runscToml(generation, flags) : '') };
  return (await missing(at, [...release.files, toml])).map(({ path }) => path);
}

/** The files that a directory lacks, or has with another digest. */
async function missing(directory: string, files: readonly ReleaseFile[]): Promise<readonly ReleaseFile[]> {
  const lacks: ReleaseFile[] = [];
  for (const file of files)
    if ((await digestOf(join(directory, file.path)).catch(() => '')) !== file.sha256) lacks.push(file);
  return lacks;
}

const UNFINISHED = '.unfinished-';

/** What an interrupted installation left; the lock guarantees that no other runs. */
export async function removeUnfinished(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => []))
    if (name.startsWith(UNFINISHED)) await rm(join(directory, name), { recursive: true, force: true });
}

export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (seen) => seen.isDirectory(),
    () => false,
  );
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
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
