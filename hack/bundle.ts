import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build, type OutputFile, type Plugin, transform } from 'esbuild';
import { REPO } from './paths.ts';
import { partial, replaceFile } from './unfinished.ts';
import { AGENT_VERSION, withVersion } from './version.ts';

/** `NAME/main.ts` becomes `dist/NAME.cjs`. */
export const BUNDLES = ['agent', 'controller', 'egress', 'kubectl'] as const;

/** A module that undici requires only for processors without SIMD (before 2008). */
const NEVER_LOADED = ['*/llhttp/llhttp-wasm.js'];

/** Our own code keeps its names for stack traces. */
const smallDependencies: Plugin = {
  name: 'small-dependencies',
  setup({ onLoad }) {
    onLoad({ filter: /\/node_modules\/.*\.[cm]?js$/ }, async ({ path }) => {
      const contents = minified.get(path) ?? minify(path);
      minified.set(path, contents);
      return { contents: await contents, loader: 'js' };
    });
  },
};
const minified = new Map<string, Promise<string>>();

async function minify(path: string): Promise<string> {
  const source = await readFile(path, 'utf8');
  // Top-level names of a CommonJS file are private to it, so esbuild may shorten them.
  const format = /^(import|export)\b/m.test(source) ? 'esm' : 'cjs';
  return (await transform(source, { minify: true, format, sourcefile: path })).code;
}

/** A page reads CSS, HTML and scripts with readFileSync. */
const inlineAssets: Plugin = {
  name: 'inline-assets',
  setup({ onLoad }) {
    onLoad({ filter: /\/controller\/page\/page\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const calls = /readFileSync\(new URL\('(.+?)', import\.meta\.url\), 'utf8'\)/g;
      const files = [...source.matchAll(calls)].map(([, file = '']) => file);
      const texts = await Promise.all(files.map((file) => readFile(join(dirname(path), file), 'utf8')));
      return { contents: source.replace(calls, () => JSON.stringify(texts.shift())), loader: 'ts' };
    });
  },
};

/** The pattern captures the text before the value. */
type Change = readonly [file: string, before: RegExp, value: string];

/** Images for tests: a newer agent, and one that waits a tenth as long before it reports a sandbox. */
export const CHANGES = {
  next: [['lib/base/version.ts', AGENT_VERSION, '0.2.0']],
  hurried: [
    ['lib/sandboxes/judge.ts', /(MINUTE_MS = )[\d_]+/g, '6_000'],
    ['agent/pods/sandbox-monitor.ts', /(\bSCAN_MS = )[\d_]+/g, '3_000'],
  ],
} as const satisfies Readonly<Record<string, readonly Change[]>>;

function changed(changes: readonly Change[]): Plugin {
  return {
    name: 'changed',
    setup({ onLoad }) {
      for (const [file, before, value] of changes)
        onLoad({ filter: new RegExp(`^${join(REPO, file)}$`) }, async ({ path }) => {
          const contents = withVersion(await readFile(path, 'utf8'), before, value);
          return { contents, loader: 'ts' };
        });
    },
  };
}

export type BundleOptions = {
  readonly dist?: string;
  readonly changes?: readonly Change[];
  /** The Node binary beside the bundles, by default of this machine's architecture. */
  readonly node?: string | undefined;
};

/**
 * Each program is one file with a source map; the Node binary that runs them in the image is copied. Does nothing if
 * the sources are unchanged; replaces files atomically.
 */
export async function bundle({
  dist = join(REPO, 'dist'),
  changes = [],
  node = nodeBinary(),
}: BundleOptions = {}): Promise<void> {
  await mkdir(dist, { recursive: true });
  const stamp = join(dist, 'made-from');
  const digest = await digestOf(node, String(changes));
  const isMade = (await readFile(stamp, 'utf8').catch(() => '')) === digest;
  const found = await readdir(dist);
  if (isMade && [...BUNDLES.map((name) => `${name}.cjs`), 'node'].every((file) => found.includes(file)))
    return;
  const plugins = [smallDependencies, inlineAssets, changed(changes)];
  for (const name of BUNDLES) {
    for (const { path, text } of await bundleOne(name, dist, plugins))
      await replaceFile(path, path.endsWith('.cjs') ? escapeBeyondAscii(text) : text);
  }
  await copyNode(join(dist, 'node'), node);
  await replaceFile(stamp, digest);
}

/** This machine's architecture. */
export function nodeBinary(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve(`node-linux-${process.arch}/package.json`)), 'bin/node');
}

/** Atomic. */
export async function copyNode(file: string, node = nodeBinary()): Promise<void> {
  await copyFile(node, partial(file));
  await chmod(partial(file), 0o755);
  await rename(partial(file), file);
}

/** The agent's image does not hold this program. */
export async function bundleInstaller(file: string): Promise<void> {
  for (const { path, text } of await bundleOne('installer', dirname(file), [smallDependencies]))
    if (path.endsWith('.cjs')) await replaceFile(file, text);
}

/** Packages count by the lock file. */
async function digestOf(...options: readonly string[]): Promise<string> {
  const files = globSync(`{${BUNDLES},lib,hack}/**/*.{ts,js,json,css,html}`, { cwd: REPO }).sort();
  const digest = createHash('sha256').update(options.join('\n'));
  for (const file of [...files, 'package-lock.json'])
    digest.update(`\n${file}\n`).update(await readFile(join(REPO, file)));
  return digest.digest('hex');
}

/** Returns the bundle and its source map without writing them. */
async function bundleOne(name: string, dist: string, plugins: readonly Plugin[]): Promise<OutputFile[]> {
  const { outputFiles } = await build({
    entryPoints: [join(REPO, name, 'main.ts')],
    outfile: join(dist, `${name}.cjs`),
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    // An ES module that imports node:http loads Node's own fetch: 2 MiB on each node.
    format: 'cjs',
    // V8 keeps the source and its line ends in memory: 0.7 MiB.
    minifyWhitespace: true,
    minifySyntax: true,
    sourcemap: true,
    sourcesContent: false,
    plugins: [...plugins],
    external: NEVER_LOADED,
    loader: { '.proto': 'text' },
    logLevel: 'warning',
  });
  return outputFiles;
}

/** A single character beyond Latin-1 makes V8 store two bytes a character. */
function escapeBeyondAscii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

if (import.meta.filename === process.argv[1]) await bundle();
