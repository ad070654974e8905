import { globSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPO } from './paths.ts';
import { partial } from './unfinished.ts';

/** The chart's directory, relative to the repository. */
export const CHART = 'charts/gvisor-ready';

/** Manifests that only kustomize or a plain Prometheus reads. */
const NOT_IN_CHART = /(^|\/)(kustomization|namespace|scrape-config|scrape-rbac|rules)\.yaml$/;

/**
 * Copies the manifests that the chart's templates read into its `files` directory, which git ignores: Helm reads no file
 * outside of a chart. Safe to run concurrently.
 */
export async function copyManifests(): Promise<void> {
  const manifests = globSync('**/*.{yaml,json}', { cwd: join(REPO, 'manifests') });
  const wanted = new Set(manifests.filter((path) => !NOT_IN_CHART.test(path)));
  const files = join(REPO, CHART, 'files');
  for (const path of globSync('**/*.{yaml,json}', { cwd: files }))
    if (!wanted.has(path)) await rm(join(files, path), { force: true });
  for (const path of wanted) {
    const content = await readFile(join(REPO, 'manifests', path), 'utf8');
    const copy = join(files, path);
    if ((await readFile(copy, 'utf8').catch(() => undefined)) === content) continue;
    await mkdir(dirname(copy), { recursive: true });
    await writeFile(partial(copy), content);
    await rename(partial(copy), copy);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await copyManifests();
