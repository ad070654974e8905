import { globSync } from 'node:fs';
import { cp, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPO } from './paths.ts';

/** The folder of the Helm chart. */
export const CHART = 'charts/gvisor-ready';

/** Where the chart keeps its copies, each under its path in `manifests`. */
export const COPIES = `${CHART}/files`;

/** Files of `manifests` that the chart needs no copy of: what only kustomize or plain Prometheus reads. */
const WITHOUT = /(^|\/)(kustomization|namespace|scrape-config|scrape-rbac|rules)\.yaml$/;

/** The files of `manifests` that the chart's templates read, as paths below that folder, sorted. */
export function chartFiles(): readonly string[] {
  const files = globSync('**/*.{yaml,json}', { cwd: join(REPO, 'manifests') });
  return files.filter((path) => !WITHOUT.test(path)).sort();
}

if (pathToFileURL(process.argv[1] ?? '').href === import.meta.url) {
  await rm(join(REPO, COPIES), { recursive: true, force: true });
  for (const path of chartFiles()) {
    await mkdir(dirname(join(REPO, COPIES, path)), { recursive: true });
    await cp(join(REPO, 'manifests', path), join(REPO, COPIES, path));
  }
}
