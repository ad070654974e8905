import { createHash } from 'node:crypto';
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { VERSION } from '../lib/base/version.ts';
import { CHART, copyManifests } from './chart.ts';
import { REPO } from './paths.ts';
import { pack, writeKrew } from './plugin.ts';
import { PAGES } from './prometheus-rules.ts';
import { ensurePython } from './python.ts';
import { run, UsageError } from './run.ts';

const USAGE =
  'npm run release -- --image NAME --digest sha256:… --repository URL, such as --image ghcr.io/OWNER/gvisor-ready';

/** Components that patch objects of another component. */
const REQUIRES: Readonly<Record<string, readonly string[]>> = {
  inject: ['enforce'],
  'enforce-audit': ['enforce'],
};

export type ReleaseInputs = {
  /** The image's name without a tag, such as `ghcr.io/OWNER/gvisor-ready`. */
  readonly image: string;
  readonly digest: string;
  /** The URL of the repository that the files are released in. */
  readonly repository: string;
};

/**
 * Writes the files of a release: rendered manifests that pin the image's digest, the chart, the kubectl plugin with its krew
 * manifest, the dispatcher's Python package, and their checksums. Needs kubectl, helm and python3 in PATH.
 */
export async function writeRelease(directory: string, release: ReleaseInputs): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await writeManifests(directory, release);
  await writeChart(directory, release);
  const work = join(directory, '.plugin');
  for (const file of await writeKrew(release.repository, work))
    await copyFile(file, join(directory, basename(file)));
  await rm(work, { recursive: true });
  await writeDispatcher(directory);
  await writeChecksums(directory);
}

/** The image of the installer is not released, since it holds gVisor; each cluster has its own. */
const NOT_RELEASED = ['install'];

/** Writes `install.yaml` (the base), `install-COMPONENT.yaml` (the base with that component) and `uninstall.yaml`. */
async function writeManifests(
  directory: string,
  { image, digest, repository }: ReleaseInputs,
): Promise<void> {
  const all = await readdir(join(REPO, 'manifests/components'));
  const components = all.filter((name) => !NOT_RELEASED.includes(name));
  const outputs: readonly (readonly [file: string, resource: string, components: readonly string[]])[] = [
    ['install.yaml', 'base', []],
    ...components.map((name) => [`install-${name}.yaml`, 'base', [...(REQUIRES[name] ?? []), name]] as const),
    ['uninstall.yaml', 'uninstall', []],
  ];
  const work = join(directory, '.kustomization');
  const from = (path: string) => relative(work, join(REPO, 'manifests', path));
  await mkdir(work);
  for (const [file, resource, names] of outputs) {
    const kustomization = {
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      resources: [from(resource)],
      components: names.map((name) => from(`components/${name}`)),
      images: [{ name: 'localhost/gvisor-ready', newName: image, digest }],
    };
    await writeFile(join(work, 'kustomization.yaml'), JSON.stringify(kustomization));
    const text = await run('kubectl', ['kustomize', work]);
    await writeFile(join(directory, file), text.replaceAll(PAGES, pagesOf(repository)));
  }
  await rm(work, { recursive: true });
}

/** The pages of this version. */
function pagesOf(repository: string): string {
  return `${repository}/blob/v${VERSION}/`;
}

/** Repacks Helm's archive, which holds the time of packing. */
async function writeChart(directory: string, { repository }: ReleaseInputs): Promise<void> {
  await copyManifests();
  const work = join(directory, '.chart');
  await mkdir(work);
  await run('helm', ['package', join(REPO, CHART), '--destination', work]);
  const archive = `gvisor-ready-${VERSION}.tgz`;
  await run('tar', ['-xzf', archive], { cwd: work });
  const rules = join(work, 'gvisor-ready/files/components/monitoring/prometheus-rule.yaml');
  await writeFile(rules, (await readFile(rules, 'utf8')).replaceAll(PAGES, pagesOf(repository)));
  await pack(join(directory, archive), work, ['gvisor-ready']);
  await rm(work, { recursive: true });
}

/** Writes the sdist and the wheel of the dispatcher. Repacks the sdist, which holds the time of packing. */
export async function writeDispatcher(directory: string): Promise<void> {
  const work = join(directory, '.dispatcher');
  const source = join(work, 'source');
  await mkdir(source, { recursive: true });
  const files = ['pyproject.toml', 'README.md', 'gvisor_dispatch'];
  const filter = (path: string) => basename(path) !== '__pycache__';
  for (const file of files)
    await cp(join(REPO, 'dispatcher', file), join(source, file), { recursive: true, filter });
  await copyFile(join(REPO, 'LICENSE'), join(source, 'LICENSE'));
  const args = ['-m', 'build', '--no-isolation', '--outdir', work, source];
  const env = { ...process.env, SOURCE_DATE_EPOCH: '0' };
  await run(await ensurePython(), args, { env, timeoutMs: 5 * 60_000 });
  const name = `gvisor_dispatch-${VERSION}`;
  await run('tar', ['-xzf', `${name}.tar.gz`], { cwd: work });
  await pack(join(directory, `${name}.tar.gz`), work, [name]);
  const wheel = `${name}-py3-none-any.whl`;
  await copyFile(join(work, wheel), join(directory, wheel));
  await rm(work, { recursive: true });
}

/** Writes `sha256sums.txt` for `sha256sum --check`. */
async function writeChecksums(directory: string): Promise<void> {
  const lines: string[] = [];
  for (const file of (await readdir(directory)).sort()) {
    const digest = createHash('sha256').update(await readFile(join(directory, file)));
    lines.push(`${digest.digest('hex')}  ${file}\n`);
  }
  await writeFile(join(directory, 'sha256sums.txt'), lines.join(''));
}

function parseRelease(args: readonly string[]): ReleaseInputs {
  const option = { type: 'string' } as const;
  const options = { image: option, digest: option, repository: option };
  const { image, digest = '', repository } = parseArgs({ args: [...args], options }).values;
  if (image === undefined || repository === undefined || !/^sha256:[0-9a-f]{64}$/.test(digest))
    throw new UsageError(`Name what is released: ${USAGE}`);
  return { image, digest, repository };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await writeRelease(join(REPO, 'dist/release'), parseRelease(process.argv.slice(2)));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}
