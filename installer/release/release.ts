import { createHash, hash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, lstat, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Host } from '../../lib/host/host.ts';
import { list, matching, object, text } from '../../lib/report/schema.ts';
import { readRunscConfig } from '../../lib/runsc/config.ts';
import { Refusal } from '../base/node.ts';

/** The path is in the release's directory; the SHA-256 is hexadecimal. */
export type ReleaseFile = { readonly path: string; readonly sha256: string };

/** From its image: `manifest.json` beside the files that it lists. */
export type Release = {
  /** Such as "release-20260223.0". */
  readonly name: string;
  /** Node's name of the architecture, such as "x64". */
  readonly arch: string;
  readonly files: readonly ReleaseFile[];
};

export const MANIFEST = 'manifest.json';
const REQUIRED = ['runsc', 'containerd-shim-runsc-v1'];

/** Throws a {@link Refusal} for anything but a release for this machine. */
export async function readRelease(directory: string): Promise<Release> {
  const file = join(directory, MANIFEST);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('release', { what: `Cannot read the release's manifest "${file}": ${error.code}` });
  });
  const release = parseRelease(text, file);
  if (release.arch === process.arch) return release;
  const what = `"${file}" is a release for ${release.arch}, and this machine is ${process.arch}`;
  throw new Refusal('release', { what });
}

const isRelease = object<Release>({
  name: matching(/^[\w.+~-]{1,60}$/),
  arch: text,
  files: list(
    object<ReleaseFile>({
      path: matching(/^(?!.*(?:^|\/)\.\.(?:\/|$))[\w.-]+(\/[\w.-]+)*$/),
      sha256: matching(/^[0-9a-f]{64}$/),
    }),
  ),
});

export function parseRelease(json: string, file: string): Release {
  let release: unknown;
  try {
    release = JSON.parse(json);
  } catch {} // no release either
  if (!isRelease(release))
    throw new Refusal('release', { what: `"${file}" is not a manifest with name, arch and files` });
  const { name, arch, files } = release;
  const missing = REQUIRED.filter((path) => !files.some((each) => each.path === path));
  if (missing.length > 0)
    throw new Refusal('release', { what: `"${file}" lists no ${missing.join(' and no ')}` });
  return { name, arch, files };
}

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

/**
 * Each file that is missing or differs is copied beside its place, compared with its digest, synced to the
 * disk, and renamed. Resolves with their number. After a failure a new generation is gone.
 */
export async function stage(
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
  const files = await missing(target, [
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

/** Only of files, because a link leads elsewhere and a pipe never ends. */
async function sizeOf(file: string): Promise<number> {
  const seen = await lstat(file).catch(() => undefined);
  if (seen?.isFile()) return seen.size;
  throw new Refusal('stage', { what: `"${file}" of the release is missing, or a link, pipe or device` });
}

/** Names the first file that is not as its release made it. */
export async function refuseDamage(root: string, generation: Generation): Promise<undefined> {
  const { directory } = generation;
  const [file] = await damagedFiles(root, generation);
  if (file === undefined) return undefined;
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
  return (await missing(at, [...release.files, toml])).map(({ path }) => path);
}

/** Files that are missing or have another digest. */
async function missing(directory: string, files: readonly ReleaseFile[]): Promise<readonly ReleaseFile[]> {
  const lacks: ReleaseFile[] = [];
  for (const file of files)
    if ((await digestOf(join(directory, file.path)).catch(() => '')) !== file.sha256) lacks.push(file);
  return lacks;
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
