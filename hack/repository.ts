import { globSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import PACKAGE from '../package.json' with { type: 'json' };
import { REPO } from './paths.ts';

/** A URL that ends in "/gvisor-ready". A fork changes it, and the registry of its images, in package.json alone. */
export const REPOSITORY: string = PACKAGE.repository;

/** Alerts link to these pages; the chart's values replace them as well. */
export const REPOSITORY_PAGES = `${REPOSITORY}/blob/main/`;

const URL_OF_REPOSITORY = /https:\/\/[\w.:-]+(?:\/[\w.-]+)+?\/gvisor-ready(?![\w-])/g;
/** Helm writes maintainers in another style when it packs a chart. */
const OWNER = /^(\* @|authors = \[\{ name = "|maintainers:\n *- (?:\{ )?name: )[\w.-]+/gm;
const REGISTRY = /^( {2}(?:REGISTRY|IMAGE|CHARTS): )[^/\s]+/gm;

/** The files that repeat what package.json says. */
export const FILES: readonly string[] = [
  '.github/CODEOWNERS',
  '.github/ISSUE_TEMPLATE/config.yml',
  '.github/workflows/release.yaml',
  'charts/gvisor-ready/Chart.yaml',
  'dispatcher/pyproject.toml',
  'docs/gitops.md',
  'docs/monitoring.md',
  'manifests/components/monitoring/prometheus-rule.yaml',
  'manifests/components/monitoring/rules.yaml',
  ...globSync('test/monitoring/*.yaml', { cwd: REPO }).sort(),
];

/** Replaces the URL of the repository, and its owner. */
export function withRepository(text: string, repository: string): string {
  return text.replace(URL_OF_REPOSITORY, repository).replace(OWNER, `$1${repository.split('/').at(-2)}`);
}

export function withRegistry(text: string, registry: string): string {
  return text.replace(REGISTRY, `$1${registry}`);
}

/** Returns the text that a file of the list should have. */
export function placed(text: string): string {
  return withRegistry(withRepository(text, REPOSITORY), PACKAGE.config.registry);
}

if (import.meta.filename === process.argv[1])
  for (const file of FILES) {
    const path = join(REPO, file);
    await writeFile(path, placed(await readFile(path, 'utf8')));
  }
