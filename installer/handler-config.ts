import { lstat, readFile, rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import {
  type ContainerdFile,
  parseContainerdFile,
  readContainerdFiles,
} from '../agent/containerd/config-files.ts';
import type { ConfigRules } from '../agent/containerd/release.ts';
import { TomlLines } from '../agent/containerd/toml.ts';
import type { Host } from '../agent/host/host.ts';
import { draftOf, type Written, writeWhole } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import { type Generation, syncDirectory } from './release.ts';

/** The blocks of handlers, with the name of each. */
const BLOCKS = /\n?# BEGIN gvisor-ready (\S+): .*?# END gvisor-ready \1\n/gs;
/** The block before them, with what all handlers in a file need. */
const HEAD = /\n?# BEGIN gvisor-ready: .*?# END gvisor-ready\n/s;

/** What {@link planHandler} needs to know of containerd: its rules, and the files that it loads, the root first. */
export type ConfigPlace = {
  readonly rules: ConfigRules;
  readonly root: string;
  readonly files: readonly ContainerdFile[];
};

/**
 * The text that makes containerd load a generation under a handler, and where it belongs: a drop-in where containerd 2 or
 * newer imports a directory, else a marked block in the file whose table counts. `files` have no blocks of handlers.
 */
export function planHandler(
  { rules, root, files }: ConfigPlace,
  handler: string,
  generation: Generation,
): Written {
  const target = fileOf({ rules, root, files });
  const version = target?.version ?? (rules === '1.x' ? 2 : 3);
  if (version < 2) {
    const next = 'Rewrite it as version 2 (containerd config migrate), and install again';
    throw new Refusal('write', `"${target?.path}" is a configuration of version ${version || 1}. ${next}`);
  }
  const section = sectionOf(version);
  // containerd 1.x replaces its built-in table, so that without this pods would have no runc.
  const needsRunc =
    rules === '1.x' && !files.some(({ lines }) => lines.has(['plugins', section, 'containerd', 'runtimes']));
  const directory = rules === '1.x' ? undefined : importedDirectory(target);
  const isNew = directory !== undefined || target === undefined;
  const head = [
    ...(isNew ? [`version = ${version}`] : []),
    ...(needsRunc ? [`[${runtimesOf(version)}.runc]`, '  runtime_type = "io.containerd.runc.v2"'] : []),
  ];
  const file = directory && posix.join(directory, `gvisor-ready-${handler}.toml`);
  return {
    file: file ?? target?.path ?? root,
    ...(head.length > 0 && { head: `${isNew ? '' : '\n'}${blockOf('gvisor-ready', head)}` }),
    text: `\n${blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation))}`,
  };
}

function blockOf(name: string, lines: readonly string[]): string {
  const begin = `# BEGIN ${name}: written by gvisor-ready-install, which also removes it.`;
  return [begin, ...lines, `# END ${name}`, ''].join('\n');
}

/** The lines of a handler's table, for a configuration of this version. */
export function handlerTable(version: number, handler: string, generation: Generation): readonly string[] {
  const table = `${runtimesOf(version)}.${JSON.stringify(handler)}`;
  return [
    `[${table}]`,
    '  runtime_type = "io.containerd.runsc.v1"',
    `  runtime_path = ${JSON.stringify(generation.shim)}`,
    `  [${table}.options]`,
    '    TypeUrl = "io.containerd.runsc.v1.options"',
    `    ConfigPath = ${JSON.stringify(generation.config)}`,
  ];
}

function sectionOf(version: number): string {
  return version >= 3 ? 'io.containerd.cri.v1.runtime' : 'io.containerd.grpc.v1.cri';
}

function runtimesOf(version: number): string {
  return `plugins.${JSON.stringify(sectionOf(version))}.containerd.runtimes`;
}

/**
 * The text that takes the place of another owner's handler in its file. Throws a {@link Refusal} where that is not one table
 * with its options.
 */
export async function planTakeOver(
  root: string,
  file: string,
  { handler, generation }: { readonly handler: string; readonly generation: Generation },
): Promise<Written> {
  const lines = ((await contentOf(root, file)) ?? '').split('\n');
  const names = lines.map((line) => /^\s*\[([^[\]]+)\]\s*(?:#.*)?$/.exec(line)?.[1]?.replace(/["'\s]/g, ''));
  const version = names.includes(`plugins.${sectionOf(3)}.containerd.runtimes.${handler}`) ? 3 : 2;
  const own = `plugins.${sectionOf(version)}.containerd.runtimes.${handler}`;
  const from = names.indexOf(own);
  const next = names.findIndex((name, at) => at > from && !(name ?? own).concat('.').startsWith(`${own}.`));
  let to = next < 0 ? lines.length : next;
  // Comments above the next table belong to it.
  while (to > from && /^\s*(#.*)?$/.test(lines[to - 1] ?? '')) to -= 1;
  const rest = lines.toSpliced(from, to - from).join('\n');
  const path = ['plugins', sectionOf(version), 'containerd', 'runtimes', handler];
  if (from < 0 || new TomlLines(rest).has(path)) {
    const what = `The handler "${handler}" in "${file}" is not one table with its options`;
    throw new Refusal('write', `${what}. Remove it by hand, and install again`);
  }
  const instead = lines.slice(from, to).join('\n') + (to < lines.length ? '\n' : '');
  return inPlace({ file, instead }, version, { handler, generation });
}

/** The next text in the place of another owner's handler, which was taken over before. */
export function planInPlace(
  old: Written,
  what: { readonly handler: string; readonly generation: Generation },
): Written {
  return inPlace(old, old.text.includes(sectionOf(3)) ? 3 : 2, what);
}

function inPlace(
  { file, instead }: Pick<Written, 'file' | 'instead'>,
  version: number,
  { handler, generation }: { readonly handler: string; readonly generation: Generation },
): Written {
  return {
    file,
    text: blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation)),
    instead,
  };
}

/** In 1.x a later file replaces the CRI plugin's whole section, so only the last file with that section counts. */
function fileOf({ rules, files }: ConfigPlace): ContainerdFile | undefined {
  const last = files.findLast(({ plugins }) => plugins.has('io.containerd.grpc.v1.cri'));
  return rules === '1.x' && last !== undefined ? last : files[0];
}

/** The first directory whose TOML files a root file imports, such as "/etc/containerd/conf.d/*.toml". */
function importedDirectory(root: ContainerdFile | undefined): string | undefined {
  const pattern = root?.imports.find((path) => /^[^*?[\]]*\/\*\.toml$/.test(path));
  if (root === undefined || pattern === undefined) return undefined;
  return posix.resolve(posix.dirname(root.path), posix.dirname(pattern));
}

/** The files that containerd loads, without the installer's handlers in them. */
export async function readOtherFiles(host: Host, root: string): Promise<readonly ContainerdFile[]> {
  const { files } = await readContainerdFiles(host, root);
  return Promise.all(
    files.map(async (file) => {
      const content = (await host.readText(file.path)) ?? '';
      return parseContainerdFile(content.replace(BLOCKS, ''), file.path);
    }),
  );
}

/** Whether containerd's file holds exactly this text. */
export async function holds(root: string, { file, text }: Written): Promise<boolean> {
  return ((await contentOf(root, file)) ?? '').includes(text);
}

/** The installer's text for a handler in a file, even if it was changed since; undefined where there is none. */
export async function foundIn(
  { root, handler }: Pick<Node, 'root' | 'handler'>,
  file: string,
): Promise<string | undefined> {
  const content = (await contentOf(root, file)) ?? '';
  return [...content.matchAll(BLOCKS)].find(([, name]) => name === handler)?.[0];
}

/**
 * Replaces `old`, the handler's own text in a file, by `next`; either may be absent. All else in the file keeps its bytes
 * and its mode. Throws a {@link Refusal} if the text was edited since, and loses nothing then.
 */
export async function replaceText(
  node: Pick<Node, 'root' | 'handler'>,
  old: Written | undefined,
  next: Written | undefined,
): Promise<void> {
  if (old !== undefined && old.file !== next?.file) await replaceIn(node, old.file, [old, undefined]);
  if (next !== undefined) await replaceIn(node, next.file, [old?.file === next.file ? old : undefined, next]);
}

async function replaceIn(
  node: Pick<Node, 'root' | 'handler'>,
  file: string,
  [old, next]: readonly [Written | undefined, Written | undefined],
): Promise<void> {
  const { root } = node;
  await rm(draftOf(join(root, file)), { force: true }); // of a run that was killed while it wrote
  const content = await contentOf(root, file);
  if (next !== undefined && (await holds(root, next))) return;
  const found = await foundIn(node, file);
  if (old === undefined ? found !== undefined : !(await holds(root, old))) {
    if (old !== undefined && found === undefined && next === undefined) return; // removed already
    const message =
      found === undefined
        ? `The text of gvisor-ready is gone from "${file}": something rewrote the file, and would do so again. Let it write the handler itself, or stop it; then remove and install`
        : `The text of gvisor-ready in "${file}" is not the one that was written there:\n${difference(old?.text ?? '', found)}\nRestore or remove it, and try again`;
    throw new Refusal('write', message);
  }
  const after = edited(content ?? '', old, next);
  if (after === '') {
    await rm(join(root, file), { force: true });
    await syncDirectory(dirname(join(root, file)));
    return;
  }
  const seen = await lstat(join(root, file)).catch(() => undefined);
  if (seen?.isSymbolicLink()) {
    const next = 'Give --config with the file that it leads to';
    throw new Refusal('write', `"${file}" is a symbolic link, which would be replaced by a file. ${next}`);
  }
  // Read again just before, because Ansible, Puppet or nodeadm may have written meanwhile.
  if ((await contentOf(root, file)) !== content)
    throw new Refusal('write', `"${file}" changed while it was being edited: nothing was written. Try again`);
  await writeWhole(join(root, file), after, seen);
}

/** The text of a file with the next block instead of the old one, or in the place of the handler that it takes over. */
function edited(before: string, old: Written | undefined, next: Written | undefined): string {
  const { head = '', text = '', instead } = next ?? {};
  const place = old?.text ?? instead;
  const rest = head === '' ? before : before.replace(HEAD, '');
  if (place === undefined) return rest + head + text;
  const after = rest.replace(place, () => (next === undefined ? (old?.instead ?? '') : head + text));
  return after.search(BLOCKS) < 0 ? after.replace(HEAD, '') : after;
}

async function contentOf(root: string, file: string): Promise<string | undefined> {
  return readFile(join(root, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('write', `Cannot read "${file}": ${error.code}`);
  });
}

/** Lines of both texts that the other lacks, as a diff shows them. */
export function difference(before: string, after: string): string {
  const [old, fresh] = [before, after].map((text) => text.split('\n').filter((line) => line.trim() !== ''));
  return [
    ...(old ?? []).filter((line) => !fresh?.includes(line)).map((line) => `- ${line}`),
    ...(fresh ?? []).filter((line) => !old?.includes(line)).map((line) => `+ ${line}`),
  ].join('\n');
}
