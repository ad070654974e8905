import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { MANIFEST, parseRelease, type Release } from '../installer/release.ts';
import { REPO } from './paths.ts';
import { run, UsageError } from './run.ts';
import { partial } from './unfinished.ts';

const USAGE =
  'npm run gvisor-release -- --release 20260914.0 [--sha256 DIGEST] [--mirror URL | --archive FILE]';
const MIRROR = 'https://storage.googleapis.com/gvisor/releases';
const DOWNLOAD_MS = 10 * 60_000;

/** gVisor's archives by release and Node's name of the architecture; no `sha256` where none is recorded. */
type Archives = Readonly<Record<string, Readonly<Record<string, { path: string; sha256?: string }>>>>;

export type ReleaseSource = {
  /** Such as "20260914.0". */
  readonly release: string;
  /** The archive's SHA-256, where installer/releases.json does not have it. */
  readonly sha256?: string | undefined;
  /** Where the path in installer/releases.json begins. */
  readonly mirror?: string | undefined;
  /** A file instead of a download. */
  readonly archive?: string | undefined;
};

/** Makes a directory with a release for the installer from gVisor's published archive, whose SHA-256 must be the known one. */
export async function fetchRelease(directory: string, source: ReleaseSource): Promise<void> {
  const { release, mirror = MIRROR, archive } = source;
  const table = JSON.parse(await readFile(join(REPO, 'installer/releases.json'), 'utf8')) as Archives;
  const known = table[release]?.[process.arch];
  const expected = [known?.sha256, source.sha256].filter((digest) => digest !== undefined);
  if (expected.length === 0)
    throw new UsageError(
      `installer/releases.json has no SHA-256 of gVisor ${release} for ${process.arch}. Give --sha256, from a source that you trust: ${USAGE}`,
    );
  const malformed = expected.find((digest) => !/^[0-9a-f]{64}$/.test(digest));
  if (malformed !== undefined)
    throw new UsageError(`"${malformed}" is no SHA-256, which has 64 hexadecimal digits.`);
  if (archive === undefined && known === undefined)
    throw new UsageError(
      `installer/releases.json has no gVisor ${release} for ${process.arch}. Add it there.`,
    );
  const content =
    archive === undefined ? await download(`${mirror}/${known?.path}`) : await readFile(archive);
  const seen = createHash('sha256').update(content).digest('hex');
  const other = expected.find((digest) => digest !== seen);
  if (other !== undefined)
    throw new Error(`The archive of gVisor ${release} has the SHA-256 ${seen}, and ${other} is expected`);
  await mkdir(dirname(directory), { recursive: true });
  const work = await mkdtemp(`${directory}-`);
  try {
    await writeFile(join(work, 'archive'), content);
    await mkdir(join(work, 'files'));
    await run('tar', ['-xjf', join(work, 'archive'), '--no-same-owner', '-C', join(work, 'files')]);
    const entries = await readdir(join(work, 'files'), { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    const programs = Object.fromEntries(files.map((file) => [relative(join(work, 'files'), file), file]));
    await packRelease(directory, `release-${release}`, programs);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function download(url: string): Promise<Buffer> {
  const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_MS) }).catch((error: Error) => {
    const { message } = error.cause instanceof Error ? error.cause : error;
    throw new Error(`${url} cannot be downloaded: ${message}`, { cause: error });
  });
  if (!response.ok) throw new Error(`${url} responds ${response.status}`);
  return Buffer.from(await response.arrayBuffer());
}

/** Makes a directory with a release: copies its programs, given by their paths in it, and writes their digests down. */
export async function packRelease(
  directory: string,
  name: string,
  programs: Readonly<Record<string, string>>,
): Promise<void> {
  await rm(directory, { recursive: true, force: true });
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
  const manifest = `${JSON.stringify(release, null, 2)}\n`;
  parseRelease(manifest, join(directory, MANIFEST));
  await writeFile(join(directory, MANIFEST), manifest);
}

/**
 * Makes a directory with a release of the gVisor that was built in `tools`, and with `further` programs by their paths. A
 * broken release's runsc cannot boot a sandbox.
 */
export async function packBuilt(
  directory: string,
  name: string,
  tools: string,
  {
    isBroken = false,
    further = {},
  }: { readonly isBroken?: boolean; readonly further?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  const broken = partial(`${directory}.runsc`);
  await mkdir(dirname(broken), { recursive: true });
  try {
    if (isBroken) await writeFile(broken, '#!/bin/sh\nexit 3\n');
    await packRelease(directory, name, {
      runsc: isBroken ? broken : join(tools, 'runsc'),
      'containerd-shim-runsc-v1': join(tools, 'shim'),
      ...further,
    });
  } finally {
    await rm(broken, { force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    const option = { type: 'string' } as const;
    const options = { release: option, sha256: option, mirror: option, archive: option };
    const { release, ...source } = parseArgs({ options }).values;
    if (release === undefined) throw new UsageError(`Name the release of gVisor: ${USAGE}`);
    // An empty --sha256 is a build argument that was not given.
    await fetchRelease(join(REPO, 'dist/installer/release'), {
      ...source,
      release,
      sha256: source.sha256 || undefined,
    });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}
