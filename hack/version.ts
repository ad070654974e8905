import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from './paths.ts';
import { run } from './run.ts';

const IMAGE = /(\bgvisor-ready:)\d+\.\d+\.\d+/g;
const INSTALLER = /(\bgvisor-ready-installer:)\d+\.\d+\.\d+/g;
const TAG = /(\bnewTag: )\S+/g;

/** Precedes the version in lib/base/version.ts. */
export const AGENT_VERSION = /(VERSION = ')[^']+/g;

/** The files that repeat the version, each with a pattern that captures the text before it. */
export const PLACES: readonly (readonly [file: string, before: RegExp])[] = [
  ['lib/base/version.ts', AGENT_VERSION],
  ['Dockerfile', /(image\.version=")[^"]+/g],
  ['manifests/base/kustomization.yaml', TAG],
  ['manifests/components/install/kustomization.yaml', /(newTag: )\d+\.\d+\.\d+/g],
  ['charts/gvisor-ready/values.yaml', INSTALLER],
  ['charts/gvisor-ready/Chart.yaml', /^(version: |appVersion: ")[^"\n]+/gm],
  ['dispatcher/gvisor_dispatch/__init__.py', /(__version__ = ")[^"]+/g],
  ['dispatcher/README.md', /(\bgvisor_dispatch-)\d+\.\d+\.\d+/g],
  ['cluster/tools/images.ts', /(\bagent: \{ name: 'localhost\/gvisor-ready:)[^']+/g],
  ['hack/kind-with-gvisor.sh', IMAGE],
  ['README.md', IMAGE],
  ['docs/gitops.md', /(\?ref=v|newTag: )\d+\.\d+\.\d+/g],
  ['docs/install.md', /(\bgvisor-ready(?:-installer)?:|newTag: )\d+\.\d+\.\d+/g],
  ['docs/kind.md', IMAGE],
  ['docs/operations.md', IMAGE],
];

export async function packageVersion(): Promise<string> {
  return (JSON.parse(await readFile(join(REPO, 'package.json'), 'utf8')) as { version: string }).version;
}

/** Throws if the pattern matches nothing. */
export function withVersion(text: string, before: RegExp, version: string): string {
  if (text.search(before) < 0) throw new Error(`${before} is not found`);
  return text.replace(before, (_, head: string) => `${head}${version}`);
}

// `npm version` runs this before its commit.
if (import.meta.filename === process.argv[1]) {
  const version = await packageVersion();
  for (const [file, before] of PLACES) {
    const path = join(REPO, file);
    await writeFile(path, withVersion(await readFile(path, 'utf8'), before, version));
    await run('git', ['add', file], { cwd: REPO });
  }
}
