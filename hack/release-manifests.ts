import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { REPO } from './paths.ts';
import { run } from './run.ts';

/** Components that change or watch what another one brings. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  inject: ['enforce'],
  'enforce-audit': ['enforce'],
};

/** The image in the manifests of the work tree. */
export const LOCAL_IMAGE = 'localhost/gvisor-ready';

/** How to render: `kubectl` is the program, `image` the reference that takes the place of the local one. */
export type RenderOptions = {
  readonly folder: string;
  readonly kubectl: string;
  readonly image: ImageReference;
};

/** The parts of an image's reference; with a digest, nodes pull what was built and nothing else. */
export type ImageReference = { readonly name: string; readonly tag: string; readonly digest?: string };

/**
 * Writes `install.yaml` (the base), `install-COMPONENT.yaml` (the base with that component) and `uninstall.yaml`. Gives
 * the names of the files.
 */
export async function writeManifests({ folder, kubectl, image }: RenderOptions): Promise<readonly string[]> {
  const components = (await readdir(join(REPO, 'manifests/components'))).sort();
  const wanted: readonly (readonly [file: string, resource: string, components: readonly string[]])[] = [
    ['install.yaml', 'base', []],
    ...components.map((name) => [`install-${name}.yaml`, 'base', [...(NEEDS[name] ?? []), name]] as const),
    ['uninstall.yaml', 'uninstall', []],
  ];
  const work = join(folder, '.kustomization');
  await mkdir(work, { recursive: true });
  try {
    for (const [file, resource, names] of wanted) {
      const from = (path: string) => relative(work, join(REPO, 'manifests', path));
      const kustomization = {
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        resources: [from(resource)],
        components: names.map((name) => from(`components/${name}`)),
        images: [imageOf(image)],
      };
      await writeFile(join(work, 'kustomization.yaml'), JSON.stringify(kustomization));
      await writeFile(join(folder, file), await run(kubectl, ['kustomize', work]));
    }
  } finally {
    await rm(work, { recursive: true });
  }
  return wanted.map(([file]) => file);
}

function imageOf({ name, tag, digest }: ImageReference) {
  const place = digest === undefined ? { newTag: tag } : { digest };
  return { name: LOCAL_IMAGE, newName: name, ...place };
}
