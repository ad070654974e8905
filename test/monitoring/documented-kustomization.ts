import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';

/** A kustomization, as far as docs/monitoring.md has one; paths are the repository's. */
export type Kustomization = {
  readonly kind?: string;
  readonly resources: readonly string[];
  readonly components: readonly string[];
  readonly patches?: readonly { readonly target: Readonly<Record<string, string>> }[];
};

/** The kustomization of docs/monitoring.md with all patches that it offers. */
export async function documentedKustomization(): Promise<Kustomization> {
  const text = await readFile(join(REPO, 'docs/monitoring.md'), 'utf8');
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(
    ([, yaml = '']) => parse(yaml) as Kustomization,
  );
  const whole = blocks.find(({ kind }) => kind === 'Kustomization');
  if (whole === undefined) throw new Error('docs/monitoring.md has no kustomization');
  return { ...whole, patches: blocks.flatMap(({ patches = [] }) => patches) };
}

/** Writes a kustomization of the repository's paths into a folder elsewhere, whose real path is given. */
export async function writeKustomization(folder: string, kustomization: Kustomization): Promise<void> {
  const from = (paths: readonly string[]) => paths.map((path) => relative(folder, join(REPO, path)));
  const { resources, components } = kustomization;
  const here = { ...kustomization, resources: from(resources), components: from(components) };
  await writeFile(join(folder, 'kustomization.yaml'), JSON.stringify(here));
}
