import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';

/** A kustomization with paths relative to the repository. */
export type Kustomization = {
  readonly resources: readonly string[];
  readonly components: readonly string[];
  readonly patches?: readonly { readonly target: Readonly<Record<string, string>> }[];
};

/** The base with the component and all optional patches of docs/monitoring.md. */
export async function documentedKustomization(): Promise<Kustomization> {
  const text = await readFile(join(REPO, 'docs/monitoring.md'), 'utf8');
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(
    ([, yaml = '']) => parse(yaml) as Partial<Kustomization>,
  );
  const components = blocks.flatMap((block) => block.components ?? []);
  if (components.length === 0) throw new Error('docs/monitoring.md has no component');
  return {
    resources: ['manifests/base'],
    components: components.map((path) => path.replace(/^gvisor-ready\//, '')),
    patches: blocks.flatMap(({ patches = [] }) => patches),
  };
}

/** Writes a kustomization into a directory outside the repository, given by its real path. */
export async function writeKustomization(directory: string, kustomization: Kustomization): Promise<void> {
  const from = (paths: readonly string[]) => paths.map((path) => relative(directory, join(REPO, path)));
  const { resources, components } = kustomization;
  const here = { ...kustomization, resources: from(resources), components: from(components) };
  await writeFile(join(directory, 'kustomization.yaml'), JSON.stringify(here));
}
