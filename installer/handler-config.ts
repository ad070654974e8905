import { lstat, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import {
  type ContainerdFile,
  parseContainerdFile,
  readContainerdFiles,
} from '../agent/containerd/config-files.ts';
import type { ConfigRules } from '../agent/containerd/release.ts';
import { TomlLines, type TomlTable, type TomlValue, tableAt } from '../agent/containerd/toml.ts';
import { glob } from '../agent/host/glob.ts';
import type { Host } from '../agent/host/host.ts';
import { draftOf, type Journal, type Written, writeDraft, writeWhole } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import { type Generation, syncDirectory } from './release.ts';

/** The blocks of handlers, with the name of each. */
const BLOCKS = /\n?# BEGIN gvisor-ready (\S+): .*?# END gvisor-ready \1\n/gs;
/** The block before them, with what all handlers in a file need. */
const HEAD = /\n?# BEGIN gvisor-ready: .*?# END gvisor-ready\n/s;

/** What {@link planHandler} needs to know of containerd: its rules, the files that it loads, the root first, and all settings. */
export type ConfigPlace = {
  readonly rules: ConfigRules;
  readonly root: string;
  readonly files: readonly ContainerdFile[];
  readonly dump: TomlTable;
};

/**
 * The text that makes containerd load a generation under a handler, and where it belongs: a drop-in where containerd 2 or
 * newer imports a directory, else a marked block in the file whose table counts. `files` have no blocks of handlers.
 */
export function planHandler(
  { rules, root, files, dump }: ConfigPlace,
  handler: string,
  generation: Generation,
): Written {
  const target = fileOf({ rules, files });
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
    ...(needsRunc ? tableLines(`${runtimesOf(version)}.runc`, runtimesIn(dump)?.get('runc')) : []),
  ];
  const file = directory && posix.join(directory, dropInOf(handler));
  return {
    file: file ?? target?.path ?? root,
    ...(head.length > 0 && { head: `${isNew ? '' : '\n'}${blockOf('gvisor-ready', head)}` }),
    text: `\n${blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation))}`,
  };
}

function dropInOf(handler: string): string {
  return `gvisor-ready-${handler}.toml`;
}

/** A table with all that is below it, as TOML. */
function tableLines(name: string, table: TomlValue | undefined): readonly string[] {
  const entries = table instanceof Map ? [...table] : [];
  const values = entries.filter(([, value]) => !(value instanceof Map));
  return [
    `[${name}]`,
    ...values.map(([key, value]) => `  ${JSON.stringify(key)} = ${JSON.stringify(value)}`),
    ...entries.flatMap(([key, value]) =>
      value instanceof Map ? tableLines(`${name}.${JSON.stringify(key)}`, value) : [],
    ),
  ];
}

/** The handlers in a configuration as containerd prints it. */
export function runtimesIn(dump: TomlTable): TomlTable | undefined {
  return tableAt(criIn(dump), ['runtimes']);
}

/** The handler of pods that name none. */
export function defaultHandlerIn(dump: TomlTable): TomlValue | undefined {
  return criIn(dump)?.get('default_runtime_name');
}

function criIn(dump: TomlTable): TomlTable | undefined {
  return [3, 2].map((version) => tableAt(dump, ['plugins', sectionOf(version), 'containerd'])).find(Boolean);
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
function fileOf({ rules, files }: Pick<ConfigPlace, 'rules' | 'files'>): ContainerdFile | undefined {
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

/** Whether a text has nothing but the installer's blocks. */
export function isOwnText(content: string): boolean {
  return content.replace(BLOCKS, '').replace(HEAD, '').trim() === '';
}

/** Refuses a journal that names a file which is none of containerd's: it would be edited by root. */
export async function refuseOtherFiles(
  { host, handler, containerdConfig }: Pick<Node, 'host' | 'handler' | 'containerdConfig'>,
  { installed, previous, pending }: Journal,
): Promise<void> {
  const { files } = await readContainerdFiles(host, containerdConfig);
  const known = [containerdConfig, ...files.map(({ path }) => path)];
  for (const file of [installed, previous, pending].flatMap((each) => each?.written.file ?? [])) {
    // A drop-in that is not there yet, or not any more.
    if (known.includes(file) || posix.basename(file) === dropInOf(handler)) continue;
    const what = `The journal of handler "${handler}" names "${file}", which is no file of containerd`;
    throw new Refusal('journal', `${what}. Give --config if it is, or move the journal away`);
  }
}

/** A file of containerd before and after a change, each byte as a character; `after` is "" if the file goes. */
export type Edit = {
  readonly file: string;
  readonly before: string | undefined;
  readonly after: string;
};

/**
 * The files that change if `next` replaces `old`, the handler's own text; either may be absent. All else keeps its bytes.
 * Throws a {@link Refusal} if the text was edited since.
 */
export async function planEdits(
  node: Pick<Node, 'root' | 'handler'>,
  old: Written | undefined,
  next: Written | undefined,
): Promise<readonly Edit[]> {
  const places =
    old?.file === next?.file
      ? [[old?.file, old, next] as const]
      : [[old?.file, old, undefined] as const, [next?.file, undefined, next] as const];
  const edits = await Promise.all(
    places.map(async ([file, from, to]) =>
      file === undefined ? undefined : planEdit(node, file, [from, to]),
    ),
  );
  return edits.filter((edit) => edit !== undefined);
}

async function planEdit(
  node: Pick<Node, 'root' | 'handler'>,
  file: string,
  [old, next]: readonly [Written | undefined, Written | undefined],
): Promise<Edit | undefined> {
  const { root } = node;
  const before = await contentOf(root, file);
  if (next !== undefined && before?.includes(next.text)) return undefined;
  const found = await foundIn(node, file);
  if (old === undefined ? found !== undefined : !before?.includes(old.text)) {
    if (old !== undefined && found === undefined && next === undefined) return undefined; // removed already
    const message =
      found === undefined
        ? `The text of gvisor-ready is gone from "${file}": something rewrote the file, and would do so again. Let it write the handler itself, or stop it; then remove and install`
        : `The text of gvisor-ready in "${file}" is not the one that was written there:\n${diffOf({ file, before: old?.text, after: found })}\nRestore or remove it, and try again`;
    throw new Refusal('write', message);
  }
  if ((await lstat(join(root, file)).catch(() => undefined))?.isSymbolicLink()) {
    const next = 'Give --config with the file that it leads to';
    throw new Refusal('write', `"${file}" is a symbolic link, which would be replaced by a file. ${next}`);
  }
  return { file, before, after: edited(before ?? '', old, next) };
}

/** Puts edits in their places. Throws a {@link Refusal} if a file changed since they were planned, as by Ansible or nodeadm. */
export async function writeEdits(root: string, edits: readonly Edit[]): Promise<void> {
  for (const { file, before, after } of edits) {
    const like = await lstat(join(root, file)).catch(() => undefined);
    if ((await contentOf(root, file)) !== before)
      throw new Refusal('write', `"${file}" changed meanwhile: nothing was written to it. Try again`);
    if (after !== '') {
      await writeWhole(root, file, Buffer.from(after, 'latin1'), like);
      continue;
    }
    await rm(join(root, file), { force: true });
    await syncDirectory(dirname(join(root, file)));
  }
}

/**
 * Runs `work` with a copy of containerd's configuration as it will be after the edits: a root file beside the real one, which
 * imports what that one imports, and the edited files from drafts beside them. containerd loads none of these. `work` gets
 * undefined if there will be no root file.
 */
export async function withDraft<T>(
  { root, host, containerdConfig }: Pick<Node, 'root' | 'host' | 'containerdConfig'>,
  edits: readonly Edit[],
  work: (config: string | undefined) => Promise<T>,
): Promise<T> {
  const others = edits.filter(({ file }) => file !== containerdConfig);
  const own = edits.find(({ file }) => file === containerdConfig);
  const content = own?.after ?? (await contentOf(root, containerdConfig)) ?? '';
  const drafts = new Map(others.map(({ file, after }) => [file, after]));
  drafts.set(
    containerdConfig,
    others.length > 0 ? await redirect(host, containerdConfig, content, drafts) : content,
  );
  const paths = [...drafts.keys()].map((file) => draftOf(join(root, file)));
  try {
    for (const [file, text] of drafts) {
      const local = join(root, file);
      if (text === '') continue;
      await mkdir(dirname(local), { recursive: true, mode: 0o755 });
      const like = await lstat(local).catch(() => undefined);
      await writeDraft(draftOf(local), Buffer.from(text, 'latin1'), like).catch((cause) => {
        throw new Error(`Cannot write "${draftOf(file)}"`, { cause });
      });
    }
    return await work(content === '' ? undefined : draftOf(containerdConfig));
  } finally {
    for (const path of paths) await rm(path, { force: true });
  }
}

/** Removes the drafts of a run that was killed. */
export async function removeDrafts(
  { root, containerdConfig }: Pick<Node, 'root' | 'containerdConfig'>,
  texts: readonly (Written | undefined)[],
): Promise<void> {
  for (const file of [containerdConfig, ...texts.flatMap((each) => each?.file ?? [])])
    await rm(draftOf(join(root, file)), { force: true });
}

/** The list of imports, which may have several lines and comments. */
const IMPORTS =
  /^[ \t]*(?:"imports"|'imports'|imports)[ \t]*=[ \t]*\[(?:[^\]"'#]|"(?:\\.|[^"\\])*"|'[^']*'|#[^\n]*)*\]/m;

/** A root file that imports drafts instead of the files that they replace. */
async function redirect(
  host: Host,
  path: string,
  content: string,
  drafts: ReadonlyMap<string, string>,
): Promise<string> {
  const imports: string[] = [];
  for (const pattern of parseContainerdFile(content, path).imports) {
    const absolute = posix.resolve(posix.dirname(path), pattern);
    const found = absolute.includes('*') ? await glob(host, absolute) : [absolute];
    const created = [...drafts.keys()].filter(
      (file) => posix.join(posix.dirname(file), '*.toml') === absolute && !found.includes(file),
    );
    for (const file of [...found, ...created].sort((a, b) => (a < b ? -1 : 1)))
      if (drafts.get(file) !== '') imports.push(drafts.has(file) ? draftOf(file) : file);
  }
  const text = content.replace(IMPORTS, () => `imports = ${JSON.stringify(imports)}`);
  const isWhole = [...drafts].every(([file, after]) => after === '' || imports.includes(draftOf(file)));
  if (isWhole && parseContainerdFile(text, path).imports.join() === imports.join()) return text;
  const what = `"${path}" does not import ${[...drafts.keys()].map((file) => `"${file}"`).join(' and ')} itself`;
  throw new Refusal('validate', `${what}, so that the change cannot be tried beforehand. Import it there`);
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

export async function contentOf(root: string, file: string): Promise<string | undefined> {
  return readFile(join(root, file), 'latin1').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('write', `Cannot read "${file}": ${error.code}`);
  });
}

/** An edit as diff -u shows it, in one piece without context. */
export function diffOf({ file, before = '', after }: Edit): string {
  const linesOf = (text: string) => (text === '' ? [] : text.replace(/\n$/, '').split('\n'));
  const [old, fresh] = [linesOf(before), linesOf(after)];
  const length = Math.min(old.length, fresh.length);
  let from = 0;
  while (from < length && old[from] === fresh[from]) from += 1;
  let rest = 0;
  while (rest < length - from && old.at(-1 - rest) === fresh.at(-1 - rest)) rest += 1;
  const [removed, added] = [old.slice(from, old.length - rest), fresh.slice(from, fresh.length - rest)];
  const range = ({ length: lines }: readonly string[]) => `${lines === 0 ? from : from + 1},${lines}`;
  return [
    `--- ${before === '' ? '/dev/null' : file}`,
    `+++ ${after === '' ? '/dev/null' : file}`,
    `@@ -${range(removed)} +${range(added)} @@`,
    ...removed.map((line) => `-${line}`),
    ...added.map((line) => `+${line}`),
  ].join('\n');
}
