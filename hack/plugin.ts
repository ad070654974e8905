import { hash } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { VERSION } from '../lib/base/version.ts';
import { REPO } from './paths.ts';
import { run } from './run.ts';

/** client-node's undici needs Node 22.19, and the plugin supports Node 20. */
const withoutUndici: Plugin = {
  name: 'without-undici',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'absent' }));
    onLoad({ filter: /.*/, namespace: 'absent' }, () => ({
      contents: 'export class Agent {}; export class ProxyAgent {}; export const fetch = undefined;',
    }));
  },
};

/**
 * One file for Node 20 or newer, with its completion script. Messages link to pages of the repository at this URL, or
 * name their paths without one. Returns the path.
 */
export async function bundlePlugin(
  dist: string = join(REPO, 'dist/kubectl'),
  repository?: string,
): Promise<string> {
  const pages = repository === undefined ? '' : `${repository}/blob/v${VERSION}`;
  await mkdir(dist, { recursive: true });
  const plugin = join(dist, 'kubectl-gvisor_ready');
  await build({
    entryPoints: [join(REPO, 'kubectl/main.ts')],
    outfile: plugin,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    minify: true,
    keepNames: true,
    plugins: [withoutUndici],
    define: { 'process.env.GVISOR_READY_REPOSITORY': JSON.stringify(pages) },
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  // Below this repository, package.json says that files are ES modules.
  await writeFile(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
  const completion = join(dist, 'kubectl_complete-gvisor_ready');
  await copyFile(join(REPO, 'kubectl/kubectl_complete-gvisor_ready.sh'), completion);
  for (const file of [plugin, completion]) await chmod(file, 0o755);
  return plugin;
}

/** `repository` is the URL of the release's repository. */
export async function writeKrew(repository: string, dist?: string): Promise<readonly string[]> {
  const directory = dirname(await bundlePlugin(dist, repository));
  await copyFile(join(REPO, 'LICENSE'), join(directory, 'LICENSE'));
  const archive = join(directory, `kubectl-gvisor_ready-v${VERSION}.tar.gz`);
  await pack(archive, directory, ['kubectl-gvisor_ready', 'kubectl_complete-gvisor_ready', 'LICENSE']);
  const sha256 = hash('sha256', await readFile(archive));
  const values: Readonly<Record<string, string>> = { VERSION, REPOSITORY: repository, SHA256: sha256 };
  const template = await readFile(join(REPO, 'kubectl/krew.yaml'), 'utf8');
  const manifest = join(directory, 'gvisor-ready.yaml');
  const filled = template
    .replace(/^#.*\n/gm, '')
    .replace(/@(\w+)@/g, (whole, name: string) => values[name] ?? whole);
  await writeFile(manifest, filled);
  return [archive, manifest];
}

/** Reproducible. Source: https://reproducible-builds.org/docs/archives/ */
export async function pack(archive: string, directory: string, files: readonly string[]): Promise<void> {
  const metadata = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  const options = [...metadata, '--mode=u+rwX,go+rX,go-w', '--format=gnu', '-I', 'gzip -nc9'];
  await run('tar', [...options, '-C', directory, '-cf', archive, ...files], { timeoutMs: 5 * 60_000 });
}

if (import.meta.filename === process.argv[1]) {
  const [repository] = process.argv.slice(2);
  await (repository === undefined ? bundlePlugin() : writeKrew(repository));
}
