import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin, transform } from 'esbuild';
import { REPO } from './paths.ts';

/**
 * The few parts of two large packages that the agent uses. Loading the rest of them (fetch, web sockets,
 * caches, mocks; printers, batteries …) costs each node 6 MiB.
 */
const PARTS: Readonly<Record<string, string>> = {
  systeminformation: `export const { cpu } = require('./lib/cpu'), { mem } = require('./lib/memory');
    export default { cpu, mem };`,
  undici: `const send = require('./lib/api/api-request');
    export const Agent = require('./lib/dispatcher/agent');
    export const request = (url, { dispatcher, ...options }) => {
      const { origin, pathname, search } = new URL(url);
      return send.call(dispatcher, { ...options, origin, path: pathname + search });
    };`,
};

/** Puts {@link PARTS} in the place of whole packages. */
const partsOnly: Plugin = {
  name: 'parts-only',
  setup({ onResolve, onLoad }) {
    const names = new RegExp(`^(${Object.keys(PARTS).join('|')})$`);
    onResolve({ filter: names }, ({ path }) => ({ path, namespace: 'parts' }));
    onLoad({ filter: names, namespace: 'parts' }, ({ path }) => ({
      contents: PARTS[path] ?? '',
      resolveDir: join(REPO, 'node_modules', path),
    }));
  },
};

/** Makes what others wrote small; our own code stays readable in a stack trace. */
const smallDependencies: Plugin = {
  name: 'small-dependencies',
  setup({ onLoad }) {
    onLoad({ filter: /\/node_modules\/.*\.[cm]?js$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, 'utf8'), { minify: true, sourcefile: path });
      return { contents: code, loader: 'js' };
    });
  },
};

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
    sourcesContent: false,
    plugins: [partsOnly, smallDependencies],
    loader: { '.proto': 'text', '.html': 'text' },
    banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
    logLevel: 'warning',
  });
  await escapeBeyondAscii(join(dist, 'agent.mjs'));
  const require = createRequire(import.meta.url);
  const node = join(dirname(require.resolve(`node-linux-${architecture}/package.json`)), 'bin/node');
  await copyFile(node, join(dist, 'node'));
  await chmod(join(dist, 'node'), 0o755);
}

/** One character beyond Latin-1 makes V8 keep the whole source with two bytes for each; esbuild leaves some. */
async function escapeBeyondAscii(file: string): Promise<void> {
  const code = await readFile(file, 'utf8');
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  await writeFile(file, code.replace(/[^\0-\x7f]/g, escaped));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await bundle(process.argv[2]);
