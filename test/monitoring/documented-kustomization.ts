import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';

/** A kustomization as in docs/monitoring.md, with paths relative to the repository. */
export type Kustomization = {
  readonly kind?: string;
  readonly resources: readonly string[];
  readonly components: readonly string[];
  readonly patches?: readonly { readonly target: Readonly<Record<string, string>> }[];
};

/** The kustomization of docs/monitoring.md with all its optional patches. */
export async function documentedKustomization(): Promise<Kustomization> {
  const text = await readFile(join(REPO, 'docs/monitoring.md'), 'utf8');
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(
    ([, yaml = '']) => parse(yaml) as Kustomization,
  );
  const whole = blocks.find(({ kind }) => kind === 'Kustomization');
  if (whole === undefined) throw new Error('docs/monitoring.md has no kustomization');
  return { ...whole, patches: blocks.flatMap(({ patches = [] }) => patches) };
}

/** Writes a kustomization into a directory outside the repository, given by its real path. */
export async function writeKustomization(directory: string, kustomization: Kustomization): Promise<void> {
  const from = (paths: readonly string[]) => paths.map((path) => relative(directory, join(REPO, path)));
  const { resources, components } = kustomization;
  const here = { ...kustomization, resources: from(resources), components: from(components) };
  await writeFile(join(directory, 'kustomization.yaml'), JSON.stringify(here));
}
