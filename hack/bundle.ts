import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type OutputFile, type Plugin, transform } from 'esbuild';
import { partial } from './abandoned.ts';
import { REPO } from './paths.ts';
import { isCopy } from './replace-file.ts';
import { withoutUnused } from './unused-by-the-agent.ts';

/** The programs of the image: each is a folder with a `main.ts`, and becomes `dist/NAME.cjs`. */
export const BUNDLES = ['agent', 'fleet', 'kubectl'] as const;

/** Makes what others wrote small; our own code keeps its names, for stack traces. */
const smallDependencies: Plugin = {
  name: 'small-dependencies',
  setup({ onLoad }) {
    onLoad({ filter: /\/node_modules\/.*\.[cm]?js$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      // As CommonJS, names at the top of a file are its own, and may be short too.
      const format = /^(import|export)\b/m.test(source) ? 'esm' : 'cjs';
      const { code } = await transform(source, { minify: true, format, sourcefile: path });
      return { contents: code, loader: 'js' };
    });
  },
};

/** Puts the text of the files that the pages read into the bundle, which is one file. */
const inlineAssets: Plugin = {
  name: 'inline-assets',
  setup({ onLoad }) {
    onLoad({ filter: /\/fleet\/page\/page\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const calls = /readFileSync\(new URL\('(.+?)', import\.meta\.url\), 'utf8'\)/g;
      const files = [...source.matchAll(calls)].map(([, file = '']) => file);
      const texts = await Promise.all(files.map((file) => readFile(join(dirname(path), file), 'utf8')));
      return { contents: source.replace(calls, () => JSON.stringify(texts.shift())), loader: 'ts' };
    });
  },
};

/** Another version than the sources have, to be upgraded to. */
function versioned(version: string): Plugin {
  return {
    name: 'versioned',
    setup({ onLoad }) {
      onLoad({ filter: /\/agent\/version\.ts$/ }, () => ({
        contents: `export const VERSION = ${JSON.stringify(version)};`,
      }));
    },
  };
}

/** What to bundle: for which architecture, into which folder, and as which version. */
export type BundleOptions = {
  /** "x64" or "arm64" */
  readonly architecture?: string;
  readonly dist?: string;
  /** Another version than that of the sources. */
  readonly version?: string | undefined;
};

/**
 * Writes the agent, the fleet controller and the kubectl plugin, each with all its dependencies as one file with a source map, and the Node
 * binary that the image runs them with. A reader always sees whole files, and the same files when nothing has changed.
 */
export async function bundle(options: BundleOptions = {}): Promise<void> {
  const { architecture = process.arch, dist = join(REPO, 'dist'), version } = options;
  await mkdir(dist, { recursive: true });
  const made = join(dist, 'made-from');
  const sources = await digestOf(architecture, version ?? '');
  if ((await readFile(made, 'utf8').catch(() => '')) === sources && (await isWhole(dist))) return;
  const named = version === undefined ? [] : [versioned(version)];
  for (const name of BUNDLES) {
    const smaller = name === 'agent' ? [smallDependencies, withoutUnused] : [smallDependencies];
    for (const { path, text } of await bundleOne(name, dist, [...smaller, inlineAssets, ...named]))
      await replaceIfOther(path, path.endsWith('.cjs') ? escapeBeyondAscii(text) : text);
  }
  const require = createRequire(import.meta.url);
  const node = join(dirname(require.resolve(`node-linux-${architecture}/package.json`)), 'bin/node');
  if (!(await isCopy(node, join(dist, 'node')))) {
    const copied = partial(join(dist, 'node'));
    await copyFile(node, copied);
    await chmod(copied, 0o755);
    await rename(copied, join(dist, 'node'));
  }
  await replaceIfOther(made, sources);
}

/** Stands for everything that a bundle is made from; packages are those of the lock file. */
async function digestOf(...options: readonly string[]): Promise<string> {
  const files = globSync(`{${BUNDLES},hack}/**/*.{ts,js,css,html}`, { cwd: REPO }).sort();
  const digest = createHash('sha256').update(options.join('\n'));
  for (const file of [...files, 'package-lock.json'])
    digest.update(`\n${file}\n`).update(await readFile(join(REPO, file)));
  return digest.digest('hex');
}

async function isWhole(dist: string): Promise<boolean> {
  const names = BUNDLES.flatMap((name) => [`${name}.cjs`, `${name}.cjs.map`]);
  const found = await readdir(dist);
  return [...names, 'node'].every((name) => found.includes(name));
}

/** The files of one program, not yet written: its bundle and the source map of that. */
async function bundleOne(name: string, dist: string, plugins: readonly Plugin[]): Promise<OutputFile[]> {
  const { outputFiles } = await build({
    entryPoints: [join(REPO, name, 'main.ts')],
    outfile: join(dist, `${name}.cjs`),
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    // An ES module that imports node:http reads all that it exports, and so loads Node's own fetch: 2 MiB on each node.
    format: 'cjs',
    // V8 keeps the source, and a table of where its lines end: 0.7 MiB.
    minifyWhitespace: true,
    sourcemap: true,
    sourcesContent: false,
    plugins: [...plugins],
    loader: { '.proto': 'text', '.html': 'text' },
    logLevel: 'warning',
  });
  return outputFiles;
}

/** One character beyond Latin-1 makes V8 keep the whole source with two bytes for each; esbuild leaves some. */
function escapeBeyondAscii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

async function replaceIfOther(path: string, content: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === content) return;
  await writeFile(partial(path), content);
  await rename(partial(path), path);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [architecture] = process.argv.slice(2);
  await bundle(architecture === undefined ? {} : { architecture });
}
