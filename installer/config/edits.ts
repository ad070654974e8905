import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, posix, relative } from 'node:path';
import { diff } from 'node:util';
import { parseContainerdFile, readContainerdFiles } from '../../lib/containerd/config-files.ts';
import { toFault } from '../../lib/containerd/toml.ts';
import { glob } from '../../lib/host/glob.ts';
import type { Host } from '../../lib/host/host.ts';
import type { Node } from '../base/node.ts';
import { Refusal } from '../base/refusal.ts';
import { draftOf, syncDirectory, writeDraft, writeWhole } from '../base/whole-file.ts';
import type { Written } from '../journal/schema.ts';
import {
  HEAD,
  hasBlocks,
  isEdited,
  lineOfOwnTable,
  markedBlock,
  unmarkedTable,
  withoutBlocks,
} from './own-text.ts';

type Place = Pick<Node, 'root' | 'host' | 'containerdConfig' | 'handler'>;

/** Each byte is a character; `after` is undefined if the file goes. */
export type Edit = {
  readonly file: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
};

/** The handler's texts in the journal, and the file whose table of handlers counts, if that is known. */
export type Known = { readonly texts: readonly Written[]; readonly main?: string | undefined };

/**
 * Takes the handler's own text out of containerd's files, and puts `next` in; the file that gets it comes
 * first, so that no moment is without a handler. All else keeps its bytes. Throws a {@link Refusal} if the text
 * was edited since.
 */
export async function planEdits(
  node: Place,
  next: Written | undefined,
  known: Known,
): Promise<readonly Edit[]> {
  const { files } = await readContainerdFiles(node.host, node.containerdConfig);
  const others = [
    node.containerdConfig,
    ...files.map(({ path }) => path),
    ...known.texts.map(({ file }) => file),
  ];
  const paths = new Set([...(next === undefined ? [] : [next.file]), ...others]);
  const edits = await Promise.all([...paths].map((file) => planEdit(node, file, { next, known })));
  return edits.filter((edit) => edit !== undefined);
}

async function planEdit(
  { root, handler }: Place,
  file: string,
  { next, known }: { readonly next: Written | undefined; readonly known: Known },
): Promise<Edit | undefined> {
  const before = await contentOf(root, file);
  const wanted = next?.file === file ? next : undefined;
  if (wanted !== undefined && before?.includes(wanted.text)) return undefined;
  const marked = markedBlock(handler, before ?? '');
  const texts = known.texts.map(({ text }) => text);
  if (marked !== undefined && isEdited(handler, marked, texts)) {
    const old = known.texts.find((each) => each.file === file)?.text;
    const shown = diffOf({ file, before: old, after: marked });
    throw new Refusal('write', {
      what: `The text of gvisor-ready in "${file}" is not the one that was written there:\n${shown}\n`,
      next: 'Restore or remove it, and try again',
    });
  }
  const isMain = file === known.main || wanted !== undefined;
  const own = marked ?? (isMain ? unmarkedTable(handler, before ?? '') : undefined);
  const after = edited(before, own, wanted);
  if (after === before) return undefined;
  const entry = await lstat(join(root, file)).catch(() => undefined);
  if (entry?.isSymbolicLink()) {
    throw new Refusal('write', {
      what: `"${file}" is a symbolic link, which would be replaced by a file`,
      next: 'Give --config with the file that it leads to',
    });
  }
  if ((entry?.nlink ?? 1) > 1) {
    throw new Refusal('write', {
      what: `"${file}" has several hard links, of which one would be replaced`,
      next: 'Remove the other names of the file',
    });
  }
  return { file, before, after };
}

/** Puts the next block in the place of the old text. A file without any other text goes, if it came with them. */
function edited(
  before: string | undefined,
  own: string | undefined,
  next: Written | undefined,
): string | undefined {
  const { head = '', text = '' } = next ?? {};
  if (own === undefined && next === undefined) return before;
  const content = before ?? '';
  const rest = head === '' ? content : content.replace(HEAD, '');
  const after = own === undefined ? rest + head + text : rest.replace(own, () => head + text);
  if (hasBlocks(after)) return after;
  const bare = after.replace(HEAD, '');
  return bare === '' && HEAD.test(after) ? undefined : bare;
}

/** Throws a {@link Refusal} if a file changed since they were planned, as by Ansible or nodeadm. */
export async function writeEdits(root: string, edits: readonly Edit[]): Promise<void> {
  for (const { file, before, after } of edits) {
    const kept = await lstat(join(root, file)).catch(() => undefined);
    if ((await contentOf(root, file)) !== before)
      throw new Refusal('write', {
        what: `"${file}" changed meanwhile: nothing was written to it`,
        next: 'Try again',
      });
    if (after !== undefined) {
      await writeWhole(root, file, Buffer.from(after, 'latin1'), kept);
      continue;
    }
    await rm(join(root, file), { force: true });
    await syncDirectory(dirname(join(root, file)));
  }
}

/**
 * Runs `work` with a copy of the configuration as it will be, in a directory that nobody else sees: a root
 * file with its imports, and drafts of the edited files. At the path there is nothing if there will be no root
 * file.
 */
export async function withDraft<T>(
  { root, host, containerdConfig }: Pick<Node, 'root' | 'host' | 'containerdConfig'>,
  edits: readonly Edit[],
  work: (config: string, realPath: (draft: string) => string) => Promise<T>,
): Promise<T> {
  const own = edits.find(({ file }) => file === containerdConfig);
  const content = own === undefined ? await contentOf(root, containerdConfig) : own.after;
  const directory = `/${relative(root, await mkdtemp(join(root, DRAFTS)))}`;
  const drafts = new Map<string, Draft>();
  for (const [index, { file, after }] of edits.entries())
    if (file !== containerdConfig) drafts.set(file, { path: `${directory}/${index}.toml`, text: after });
  const config = `${directory}/config.toml`;
  const realPath = (path: string) => {
    const [file] = [...drafts].find(([, draft]) => draft.path === path) ?? [];
    return file ?? (path === config ? containerdConfig : path);
  };
  try {
    const text = content && (await redirect(host, { path: containerdConfig, content }, drafts));
    for (const draft of [{ path: config, text }, ...drafts.values()]) {
      if (draft.text === undefined) continue;
      const content = Buffer.from(draft.text, 'latin1');
      await writeDraft(join(root, draft.path), content).catch((cause) => {
        throw new Error(`Cannot write "${draft.path}"`, { cause });
      });
    }
    return await work(config, realPath);
  } finally {
    await rm(join(root, directory), { recursive: true, force: true });
  }
}

/** Not beside the live files: on another disk, and gone after a reboot. */
const DRAFTS = '/run/gvisor-ready-draft-';

/** Tells of copies of the handler in files of other programs, which are left alone. */
export async function copiesIn(node: Place, edits: readonly Edit[]): Promise<readonly string[]> {
  const { files } = await readContainerdFiles(node.host, node.containerdConfig);
  const found = files.map(async ({ path }) => {
    const edit = edits.find(({ file }) => file === path);
    const content = (edit === undefined ? await contentOf(node.root, path) : edit.after) ?? '';
    const line = lineOfOwnTable(node.handler, parseContainerdFile(withoutBlocks(content), path));
    const what =
      'has a copy of the handler, which another program made: it is left, with the programs that it names';
    return line === undefined ? [] : [`"${path}" line ${line} ${what}`];
  });
  return (await Promise.all(found)).flat();
}

/** Removes what runs that were killed have left. */
export async function removeDrafts(
  { root, containerdConfig }: Pick<Node, 'root' | 'containerdConfig'>,
  texts: readonly Written[],
): Promise<void> {
  for (const file of [containerdConfig, ...texts.map((each) => each.file)])
    await rm(draftOf(join(root, file)), { force: true });
  const names = await readdir(join(root, '/run')).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(posix.basename(DRAFTS))))
    await rm(join(root, '/run', name), { recursive: true, force: true });
}

/** A copy of a file as it will be, without a text if it will be gone. */
type Draft = { readonly path: string; readonly text: string | undefined };

/** Matches a list that may have several lines and comments. */
const IMPORTS =
  /^[ \t]*(?:"imports"|'imports'|imports)[ \t]*=[ \t]*\[(?:[^\]"'#]|"(?:\\.|[^"\\])*"|'[^']*'|#[^\n]*)*\]/m;

/** Imports drafts instead of the files that they replace, and all else by whole paths. */
async function redirect(
  host: Host,
  { path, content }: { readonly path: string; readonly content: string },
  drafts: ReadonlyMap<string, Draft>,
): Promise<string> {
  let patterns: readonly string[];
  try {
    patterns = parseContainerdFile(content, path).imports;
  } catch (cause) {
    toFault(cause);
    return content; // containerd refuses it, and says why
  }
  const imports: string[] = [];
  for (const pattern of patterns) {
    const absolute = posix.resolve(posix.dirname(path), pattern);
    const found = absolute.includes('*') ? await glob(host, absolute) : [absolute];
    const created = [...drafts.keys()].filter(
      (file) => posix.join(posix.dirname(file), '*.toml') === absolute && !found.includes(file),
    );
    for (const file of [...found, ...created].sort((a, b) => (a < b ? -1 : 1))) {
      const draft = drafts.get(file);
      // A file that imports its own directory is not read twice.
      if (file !== path && (draft === undefined || draft.text !== undefined))
        imports.push(draft?.path ?? file);
    }
  }
  const isImported = [...drafts.values()].every(
    (draft) => draft.text === undefined || imports.includes(draft.path),
  );
  const text =
    patterns.length === 0 ? content : content.replace(IMPORTS, () => `imports = ${JSON.stringify(imports)}`);
  if (isImported && parseContainerdFile(text, path).imports.join() === imports.join()) return text;
  const missing = [...drafts.keys()].map((file) => `"${file}"`).join(' and ');
  throw new Refusal('validate', {
    what: `"${path}" does not import ${missing} itself, so that the change cannot be tried beforehand`,
    next: 'Import it there',
  });
}

export async function contentOf(root: string, file: string): Promise<string | undefined> {
  return readFile(join(root, file), 'latin1').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Refusal('write', { what: `Cannot read "${file}": ${error.code}` });
  });
}

/** Writes the difference as diff does. */
export function diffOf({ file, before = '', after = '' }: Edit): string {
  const lines = diff(before.split('\n'), after.split('\n'));
  return [
    `--- ${before === '' ? '/dev/null' : file}`,
    `+++ ${after === '' ? '/dev/null' : file}`,
    ...lines.flatMap(([side, line]) => (side === 0 ? [] : `${side > 0 ? '-' : '+'}${line}`)),
  ].join('\n');
}
