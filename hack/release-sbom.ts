import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Version } from '@cyclonedx/cyclonedx-library/Spec';
import { JsonStrictValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { BUNDLES } from './bundle.ts';
import { pinnedNode } from './node-binary.ts';
import { REPO } from './paths.ts';
import type { DebianPackage } from './release-base.ts';
import { ARCHITECTURES, type Architecture, type ReleaseImage } from './release-image.ts';
import { run } from './run.ts';

/** The parts of a CycloneDX document that are read or changed here: https://cyclonedx.org/docs/1.5/json/ */
type Component = {
  readonly 'bom-ref': string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
};
type Sbom = {
  readonly metadata: { readonly timestamp: string; readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies?: unknown;
  readonly serialNumber?: string;
};

/** The time of all documents, seconds, and where to write them. */
export type SbomOptions = { readonly folder: string; readonly version: string; readonly epoch: number };

/**
 * Writes what the lock file holds (npm's own document), and for each architecture what the image holds: the packages of
 * Debian, Node, and of npm's packages those whose code is in the bundles. Gives the names of the files; fails where one is
 * not what CycloneDX's schema allows.
 */
export async function writeSboms(image: ReleaseImage, options: SbomOptions): Promise<readonly string[]> {
  const { folder, version, epoch } = options;
  const lock = await lockSbom(epoch);
  const files = { [`gvisor-ready-${version}-lock.cdx.json`]: lock };
  for (const architecture of Object.keys(ARCHITECTURES) as Architecture[]) {
    const inBundles = await bundledPackages(image.dist[architecture]);
    const components = [
      ...image.packages[architecture].map(debianComponent),
      await nodeComponent(architecture),
      ...lock.components.filter(({ name, version }) => inBundles.has(`${name}@${version}`)),
    ];
    const { component } = lock.metadata;
    const subject = { ...component, type: 'container', version: image.digest };
    files[`gvisor-ready-${version}-image-${architecture}.cdx.json`] = {
      ...lock,
      metadata: { ...lock.metadata, component: subject },
      components,
      dependencies: [],
    };
  }
  for (const [name, content] of Object.entries(files)) {
    const text = `${JSON.stringify(content, undefined, 2)}\n`;
    await requireValid(name, text);
    await writeFile(join(folder, name), text);
  }
  return Object.keys(files);
}

/** Fails unless a text is JSON that CycloneDX's own schema of the version that it names allows, and nothing beside it. */
export async function requireValid(name: string, text: string): Promise<void> {
  const { specVersion } = JSON.parse(text) as { readonly specVersion: Version };
  const problems = await new JsonStrictValidator(specVersion).validate(text);
  if (problems !== null)
    throw new Error(`${name} is not CycloneDX ${specVersion}: ${JSON.stringify(problems, undefined, 2)}`);
}

/** npm's document on the lock file, without what differs from one run, or from one folder, to the next. */
async function lockSbom(epoch: number): Promise<Sbom> {
  const words = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only', '--sbom-type', 'application'];
  const { serialNumber: _, ...sbom } = JSON.parse(await run('npm', words, { cwd: REPO })) as Sbom;
  const component = { ...sbom.metadata.component, name: 'gvisor-ready' };
  const timestamp = new Date(epoch * 1000).toISOString();
  return { ...sbom, metadata: { ...sbom.metadata, timestamp, component } };
}

/** The npm packages whose code is in the bundles of a folder, as name@version, by the bundles' source maps. */
async function bundledPackages(dist: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const bundle of BUNDLES) {
    const map = await readFile(join(dist, `${bundle}.cjs.map`), 'utf8');
    const { sources } = JSON.parse(map) as { readonly sources: readonly string[] };
    for (const source of sources) {
      const folder = /node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(source)?.[0];
      if (folder !== undefined) found.add(await packageIn(join(REPO, folder)));
    }
  }
  return found;
}

async function packageIn(folder: string): Promise<string> {
  const { name, version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Component;
  return `${name}@${version}`;
}

function debianComponent({ name, version, architecture }: DebianPackage): Component {
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-12`;
  return { 'bom-ref': purl, type: 'library', name, version, purl };
}

async function nodeComponent(architecture: Architecture): Promise<Component> {
  const { version } = await pinnedNode(ARCHITECTURES[architecture]);
  const purl = `pkg:npm/node-linux-${ARCHITECTURES[architecture]}@${version}`;
  return { 'bom-ref': purl, type: 'application', name: 'node', version, purl };
}
