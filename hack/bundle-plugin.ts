import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { REPO } from './paths.ts';

/**
 * The official client needs undici for requests of its own, of which the plugin makes none, and its undici starts with
 * Node 22.19 alone.
 */
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
 * Writes the kubectl plugin as one file that runs with Node 20 or newer, and the script that completes its words. The
 * package.json beside them matters only in this repository, whose own says that files are ES modules.
 */
export async function bundlePlugin(dist: string = join(REPO, 'dist/kubectl')): Promise<string> {
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
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  await writeFile(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
  const completion = join(dist, 'kubectl_complete-gvisor_ready');
  await copyFile(join(REPO, 'kubectl/kubectl_complete-gvisor_ready.sh'), completion);
  for (const file of [plugin, completion]) await chmod(file, 0o755);
  return plugin;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundlePlugin();
