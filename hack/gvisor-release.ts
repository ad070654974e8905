import { hash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { MANIFEST, parseRelease, type Release } from '../installer/release/release.ts';
import { get, publishedSum } from './download.ts';
import { REPO } from './paths.ts';
import { run, runMain, UsageError } from './run.ts';
import { partial } from './unfinished.ts';

/** The guides, the chart and the manifests propose it. */
export const DEFAULT_RELEASE = '20260831.0';
const USAGE = `npm run gvisor-release -- [--release ${DEFAULT_RELEASE}] (--sha256 DIGEST | --sha512 DIGEST | --trust-mirror) [--mirror URL | --archive FILE]`;
const MIRROR = 'https://storage.googleapis.com/gvisor/releases';

export type ReleaseSource = {
  /** Such as "20260831.0". */
  readonly release: string;
  /** The archive's digests. */
  readonly sha256?: string | undefined;
  readonly sha512?: string | undefined;
  /** The digest that the mirror publishes finds a broken download, and no false one. */
  readonly trustsMirror?: boolean | undefined;
  /** The parent of "release/20260831.0/…". */
  readonly mirror?: string | undefined;
  /** A file instead of a download. */
  readonly archive?: string | undefined;
};

/** A release for the installer from gVisor's published archive, whose digest must be the given one. */
export async function fetchRelease(directory: string, source: ReleaseSource): Promise<void> {
  const { release, mirror = MIRROR, archive, trustsMirror = false } = source;
  if (!/^\d{8}\.\d+$/.test(release)) throw new UsageError(`"${release}" is no release of gVisor: ${USAGE}`);
  const url = `${mirror}/release/${release}/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}/gvisor.tar.bz2`;
  const given = (['sha256', 'sha512'] as const).filter((each) => source[each] !== undefined);
  if (given.length === 0 && !trustsMirror)
    throw new UsageError(
      `Give the digest of gVisor ${release}'s archive from a source that you trust, or --trust-mirror: ${USAGE}`,
    );
  const content =
    archive === undefined
      ? await get(url, (response) => response.bytes()).catch((error: Error) => {
          throw new Error(`${error.message}: name another --mirror, or an --archive`, { cause: error });
        })
      : await readFile(archive);
  const published = trustsMirror
    ? publishedSum(await get(`${url}.sha512`, (response) => response.text()), basename(url))
    : undefined;
  if (trustsMirror && published === undefined) throw new Error(`${url}.sha512 has no digest`);
  const digestOf = (algorithm: string) => hash(algorithm, content);
  for (const [algorithm, expected] of [
    ...given.map((each) => [each, source[each]] as const),
    ...(published === undefined ? [] : [['sha512', published] as const]),
  ])
    if (digestOf(algorithm) !== expected)
      throw new Error(
        `The archive of gVisor ${release} has the ${algorithm} ${digestOf(algorithm)}, and ${expected} is expected`,
      );
  if (trustsMirror) console.log(`Trusted ${mirror}. Next time give --sha256 ${digestOf('sha256')}`);
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

/** Copies programs, given by their paths in it, and writes their digests down. */
export async function packRelease(
  directory: string,
  name: string,
  programs: Readonly<Record<string, string>>,
  arch: Release['arch'] = process.arch,
): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  const files: { path: string; sha256: string }[] = [];
  for (const [path, source] of Object.entries(programs).sort()) {
    await mkdir(join(directory, dirname(path)), { recursive: true });
    await copyFile(source, join(directory, path));
    files.push({ path, sha256: hash('sha256', await readFile(source)) });
  }
  const release: Release = { name, arch, files };
  const manifest = `${JSON.stringify(release, null, 2)}\n`;
  parseRelease(manifest, join(directory, MANIFEST));
  await writeFile(join(directory, MANIFEST), manifest);
}

/** A release of the gVisor in `tools`, with `further` programs by their paths. A broken one cannot boot a sandbox. */
export async function packBuilt(
  directory: string,
  name: string,
  tools: string,
  {
    isBroken = false,
    further = {},
    arch,
  }: {
    readonly isBroken?: boolean;
    readonly further?: Readonly<Record<string, string>>;
    readonly arch?: Release['arch'] | undefined;
  } = {},
): Promise<void> {
  const broken = partial(`${directory}.runsc`);
  await mkdir(dirname(broken), { recursive: true });
  try {
    if (isBroken) await writeFile(broken, '#!/bin/sh\nexit 3\n');
    const programs = {
      runsc: isBroken ? broken : join(tools, 'runsc'),
      'containerd-shim-runsc-v1': join(tools, 'shim'),
      ...further,
    };
    await packRelease(directory, name, programs, arch);
  } finally {
    await rm(broken, { force: true });
  }
}

async function main(): Promise<void> {
  const option = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      release: { ...option, default: DEFAULT_RELEASE },
      sha256: option,
      sha512: option,
      mirror: option,
      archive: option,
      'trust-mirror': { type: 'boolean' },
    },
  });
  const { release, sha256, 'trust-mirror': trustsMirror, ...source } = values;
  // An empty --sha256 is a build argument that was not given.
  const known = { ...source, release, sha256: sha256 || undefined, trustsMirror };
  await fetchRelease(join(REPO, 'dist/installer/release'), known);
}

if (import.meta.filename === process.argv[1]) await runMain(main);
