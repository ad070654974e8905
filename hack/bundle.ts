import { chmod, copyFile, mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { REPO } from './paths.ts';

/**
 * Writes dist/: the agent with all its dependencies as one file with a source map, and the Node binary
 * of `architecture` ("x64" or "arm64") that the image runs it with.
 */
export async function bundle(architecture: string = process.arch): Promise<void> {
  const dist = join(REPO, 'dist');
  await mkdir(dist, { recursive: true });
  await build({
    entryPoints: [join(REPO, 'agent/main.ts')],
    outfile: join(dist, 'agent.mjs'),
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    sourcemap: true,
    minifySyntax: true,
    loader: { '.proto': 'text', '.html': 'text' },
    banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
    logLevel: 'warning',
  });
  const require = createRequire(import.meta.url);
  const node = join(dirname(require.resolve(`node-linux-${architecture}/package.json`)), 'bin/node');
  await copyFile(node, join(dist, 'node'));
  await chmod(join(dist, 'node'), 0o755);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundle(process.argv[2]);
