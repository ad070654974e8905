import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatTable } from '../agent/text/table.ts';
import { VERSION } from '../agent/version.ts';
import { ensureTools } from '../cluster/tools.ts';
import { writeKrew } from './krew.ts';
import { REPO } from './paths.ts';
import { ensurePrerequisites } from './prerequisites.ts';
import { progress } from './progress.ts';
import { writeImage } from './release-image.ts';
import { LOCAL_IMAGE, writeManifests } from './release-manifests.ts';
import { writeSboms } from './release-sbom.ts';
import { tryRelease } from './release-trial.ts';
import { run, UsageError } from './run.ts';
import { pack } from './same-archive.ts';

const HELP = `npm run release [-- --image NAME --repository URL --check]
Writes what a release of this commit holds to dist/release.
  --image NAME       where the image will be published, such as ghcr.io/OWNER/gvisor-ready; manifests then name its digest
  --repository URL   where the release will be published, for the manifest of krew
  --check            builds everything a second time, and fails where a file differs; then installs it in a cluster`;

/** Where a release is published, and the time (seconds) and name of the commit that it is of. */
type Release = {
  readonly image: string | undefined;
  readonly repository: string;
  readonly epoch: number;
  readonly commit: string;
};

/** Writes everything to `folder`, and gives lines for people. */
async function writeRelease(folder: string, release: Release): Promise<readonly string[][]> {
  const { image = LOCAL_IMAGE, repository, epoch, commit } = release;
  await rm(folder, { recursive: true, force: true });
  const work = join(folder, '.work');
  await mkdir(work, { recursive: true });
  try {
    const archive = `gvisor-ready-${VERSION}-image.tar`;
    const name = `${image}:${VERSION}`;
    const built = await writeImage(join(folder, archive), { name, version: VERSION, commit, epoch, work });
    const { kubernetes, helm } = await ensureTools(['kubernetes', 'helm']);
    const reference = { name: image, tag: VERSION, ...(release.image && { digest: built.digest }) };
    const kubectl = join(kubernetes, 'kubectl');
    const digest = `gvisor-ready-${VERSION}-image.digest`;
    await writeFile(join(folder, digest), `${built.digest}\n`);
    const files = [
      archive,
      digest,
      ...(await writeManifests({ folder, kubectl, image: reference })),
      ...(await writeSboms(built, { folder, version: VERSION, epoch })),
      ...(await writePlugin(repository, folder, work)),
      await writeChart(join(helm, 'helm'), { folder, work, epoch }),
    ];
    await writeSums(folder, files);
    const pulled = Object.entries(built.pulled).map(([architecture, bytes]) => [
      `image for ${architecture}`,
      `${(bytes / 1e6).toFixed(1)} MB to pull`,
    ]);
    return [['image', `${name}@${built.digest}`], ...pulled];
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function writePlugin(repository: string, folder: string, work: string): Promise<readonly string[]> {
  const manifest = await writeKrew(repository, join(work, 'plugin'));
  const files = [`kubectl-gvisor_ready-v${VERSION}.tar.gz`, basename(manifest)];
  for (const file of files) await copyFile(join(work, 'plugin', file), join(folder, file));
  return files;
}

type ChartOptions = { readonly folder: string; readonly work: string; readonly epoch: number };

/** Helm's own archive, packed again so that it is the same wherever and whenever it is made. */
async function writeChart(helm: string, { folder, work, epoch }: ChartOptions): Promise<string> {
  const packed = join(work, 'chart');
  await mkdir(packed, { recursive: true });
  await run(helm, ['package', join(REPO, 'charts/gvisor-ready'), '--destination', packed]);
  const file = `gvisor-ready-${VERSION}.tgz`;
  await run('tar', ['-xzf', file], { cwd: packed });
  await pack(join(folder, file), { folder: packed, files: ['gvisor-ready'], epoch });
  await run(helm, ['show', 'chart', join(folder, file)]);
  return file;
}

/** The digests of the files, as `sha256sum --check` reads them. */
async function writeSums(folder: string, files: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const file of [...files].sort()) {
    const digest = createHash('sha256').update(await readFile(join(folder, file)));
    lines.push(`${digest.digest('hex')}  ${file}\n`);
  }
  await writeFile(join(folder, SUMS), lines.join(''));
}

const SUMS = 'sha256sums.txt';
const readSums = async (folder: string) => (await readFile(join(folder, SUMS), 'utf8')).trim().split('\n');

async function main(words: readonly string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const options = { image: text, repository: text, check: flag, help: flag };
  const { values } = parseArgs({ args: [...words], options });
  if (values.help) return console.log(HELP);
  await ensurePrerequisites({ forReleases: true });
  const git = async (...args: string[]) => (await run('git', args, { cwd: REPO })).trim();
  const changed = await git('status', '--porcelain', '--untracked-files=no');
  if (changed !== '')
    console.error('The work tree has changes that are in no commit: this is a trial, not a release.');
  const release = {
    image: values.image,
    repository: values.repository ?? 'https://github.com/OWNER/gvisor-ready',
    epoch: Number(await git('log', '-1', '--format=%ct')),
    commit: `${await git('rev-parse', 'HEAD')}${changed === '' ? '' : '-changed'}`,
  };
  const folder = join(REPO, 'dist/release');
  const lines = await writeRelease(folder, release);
  const sums = await readSums(folder);
  const sizes = sums.map((line) => [line.slice(66), `sha256:${line.slice(0, 64)}`]);
  console.log(formatTable([['dist/release', ''], ...sizes, ...lines]));
  if (!values.check) return;
  const again = join(REPO, 'dist/release-again');
  try {
    await writeRelease(again, release);
    const other = new Set(await readSums(again));
    const differ = sums.filter((line) => !other.has(line));
    if (differ.length > 0) throw new Error(`Built twice, these differ:\n${differ.join('\n')}`);
    console.log(`Built twice: all ${sums.length} files are the same.`);
  } finally {
    if (existsSync(again)) await rm(again, { recursive: true });
  }
  await progress('installing the release in a cluster, with kubectl and with Helm', () =>
    tryRelease(folder, release.image ?? LOCAL_IMAGE),
  );
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
