import { hash } from 'node:crypto';
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { parseDocument } from 'yaml';
import { VERSION } from '../lib/base/version.ts';
import { CHART, chartReadme, copyManifests } from './chart.ts';
import { buildInstaller } from './installer.ts';
import { REPO } from './paths.ts';
import { pack, writeKrew } from './plugin.ts';
import { ensurePython } from './python.ts';
import { REPOSITORY, withRepository } from './repository.ts';
import { run, runMain, UsageError } from './run.ts';

const USAGE =
  'npm run release -- --image NAME --digest sha256:… --installer-digest sha256:… --repository URL, such as --image registry.example.org/gvisor-ready';

/** Components that patch objects of another component. */
const REQUIRES: Readonly<Record<string, readonly string[]>> = {
  inject: ['enforce'],
  'enforce-audit': ['enforce'],
};

export type ReleaseInputs = {
  /** Without a tag, such as `registry.example.org/gvisor-ready`. */
  readonly image: string;
  readonly digest: string;
  /** The installer's image has the image's name with "-installer". */
  readonly installerDigest: string;
  /** A URL. */
  readonly repository: string;
};

/**
 * Manifests and chart with the images by digest, the plugin with its krew manifest, the dispatcher's package, the
 * installer, the list of npm's packages, the changelog's section, and the checksums of all. Needs kubectl, helm and npm
 * in PATH.
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
  await writeDispatcher(directory, release.repository);
  await writeInstaller(directory);
  await writePackages(directory);
  await writeFile(join(directory, 'notes.md'), notesOf(await readFile(join(REPO, 'CHANGELOG.md'), 'utf8')));
  await writeChecksums(directory);
}

/** `install.yaml` (the base), `install-COMPONENT.yaml` (the base with that component) and `uninstall.yaml`. */
async function writeManifests(
  directory: string,
  { image, digest, installerDigest, repository }: ReleaseInputs,
): Promise<void> {
  const all = await readdir(join(REPO, 'manifests/components'));
  const components = all.filter((name) => name !== 'canary'); // its image is each user's own
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
      images: [
        { name: 'localhost/gvisor-ready', newName: image, digest },
        { name: 'localhost/gvisor-ready-installer', newName: `${image}-installer`, digest: installerDigest },
      ],
    };
    await writeFile(join(work, 'kustomization.yaml'), JSON.stringify(kustomization));
    const text = await run('kubectl', ['kustomize', work]);
    await writeFile(join(directory, file), withPages(text, repository));
  }
  await rm(work, { recursive: true });
}

/** Names the repository and its owner, and links to the pages of this version. */
function withPages(text: string, repository: string): string {
  const main = `${repository}/blob/main/`;
  return withRepository(text, repository).replaceAll(main, `${repository}/blob/v${VERSION}/`);
}

/** Repacks Helm's archive, which holds the time of packing. */
async function writeChart(
  directory: string,
  { image, digest, installerDigest, repository }: ReleaseInputs,
): Promise<void> {
  await copyManifests();
  const work = join(directory, '.chart');
  await mkdir(work);
  await run('helm', ['package', join(REPO, CHART), '--destination', work]);
  const archive = `gvisor-ready-${VERSION}.tgz`;
  await run('tar', ['-xzf', archive], { cwd: work });
  const change = async (file: string, changed: (text: string) => string) => {
    const path = join(work, 'gvisor-ready', file);
    await writeFile(path, changed(await readFile(path, 'utf8')));
  };
  for (const file of ['Chart.yaml', 'files/components/monitoring/prometheus-rule.yaml'])
    await change(file, (text) => withPages(text, repository));
  await change('values.yaml', (text) => {
    const values = parseDocument(text);
    values.setIn(['image', 'repository'], image);
    values.setIn(['image', 'digest'], digest);
    values.setIn(['install', 'image'], `${image}-installer@${installerDigest}`);
    return values.toString({ lineWidth: 0, flowCollectionPadding: false });
  });
  const { text } = await chartReadme(join(work, 'gvisor-ready'));
  await change('README.md', () => text);
  await pack(join(directory, archive), work, ['gvisor-ready']);
  await rm(work, { recursive: true });
}

/**
 * The page of sdist and wheel has links that work outside of the repository. Repacks the sdist, which holds the time of
 * packing.
 */
export async function writeDispatcher(directory: string, repository = REPOSITORY): Promise<void> {
  const work = join(directory, '.dispatcher');
  const source = join(work, 'source');
  await mkdir(source, { recursive: true });
  const files = ['pyproject.toml', 'README.md', 'rbac.yaml', 'recipes', 'gvisor_dispatch'];
  const filter = (path: string) => basename(path) !== '__pycache__';
  for (const file of files)
    await cp(join(REPO, 'dispatcher', file), join(source, file), { recursive: true, filter });
  await copyFile(join(REPO, 'LICENSE'), join(source, 'LICENSE'));
  const base = `${repository}/blob/v${VERSION}/dispatcher/`;
  for (const file of ['pyproject.toml', 'README.md']) {
    const text = withPages(await readFile(join(source, file), 'utf8'), repository);
    await writeFile(
      join(source, file),
      text.replace(/\]\((?!https?:|#)(.+?)\)/g, (_, path: string) => `](${new URL(path, base)})`),
    );
  }
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

/** This machine's architecture. */
async function writeInstaller(directory: string): Promise<void> {
  const work = join(directory, '.installer');
  await buildInstaller(join(work, 'gvisor-ready-install'));
  await copyFile(join(REPO, 'LICENSE'), join(work, 'LICENSE'));
  const archive = `gvisor-ready-install-v${VERSION}-linux-${process.arch === 'x64' ? 'amd64' : process.arch}.tar.gz`;
  await pack(join(directory, archive), work, ['gvisor-ready-install', 'LICENSE']);
  await rm(work, { recursive: true });
}

/** SPDX; a scan of the image finds no bundled package. */
async function writePackages(directory: string): Promise<void> {
  const args = ['sbom', '--package-lock-only', '--omit=dev', '--sbom-format=spdx'];
  const list = JSON.parse(await run('npm', args, { cwd: REPO, timeoutMs: 5 * 60_000 }));
  // npm puts a random number and the time there.
  list.documentNamespace = `http://spdx.org/spdxdocs/gvisor-ready-${VERSION}`;
  list.creationInfo.created = '1970-01-01T00:00:00Z';
  await writeFile(join(directory, 'npm-packages.spdx.json'), `${JSON.stringify(list, null, 2)}\n`);
}

/** Throws if this version has no section. */
function notesOf(changelog: string): string {
  const section = changelog.split(/^(?=## )/m).find((each) => each.startsWith(`## ${VERSION} (`));
  if (section === undefined) throw new Error(`CHANGELOG.md has no section "## ${VERSION} (date)"`);
  return section.replace(/^.*\n+/, '');
}

/** Made for `sha256sum --check`. */
async function writeChecksums(directory: string): Promise<void> {
  const lines: string[] = [];
  for (const file of (await readdir(directory)).sort())
    lines.push(`${hash('sha256', await readFile(join(directory, file)))}  ${file}\n`);
  await writeFile(join(directory, 'sha256sums.txt'), lines.join(''));
}

function parseRelease(args: readonly string[]): ReleaseInputs {
  const option = { type: 'string' } as const;
  const options = { image: option, digest: option, 'installer-digest': option, repository: option };
  const { values } = parseArgs({ args: [...args], options });
  const { image, digest = '', 'installer-digest': installerDigest = '', repository } = values;
  const isWhole = [digest, installerDigest].every((each) => /^sha256:[0-9a-f]{64}$/.test(each));
  if (image === undefined || repository === undefined || !isWhole)
    throw new UsageError(`Name what is released: ${USAGE}`);
  return { image, digest, installerDigest, repository };
}

if (import.meta.filename === process.argv[1])
  await runMain(async () => writeRelease(join(REPO, 'dist/release'), parseRelease(process.argv.slice(2))));
