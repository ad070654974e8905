import { lstat, readFile, rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { diff } from 'node:util';
import { parseContainerdFile } from '../lib/node/containerd/config-files.ts';
import { glob } from '../lib/node/host/glob.ts';
import type { Host } from '../lib/node/host/host.ts';
import { draftOf, type Written, writeDraft, writeWhole } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import { syncDirectory } from './release.ts';

export const BLOCKS = /\n?# BEGIN gvisor-ready (\S+): .*?# END gvisor-ready \1\n/gs;
/** Lines that all handlers in a file need, before their blocks. */
const HEAD = /\n?# BEGIN gvisor-ready: .*?# END gvisor-ready\n/s;

type Place = Pick<Node, 'root' | 'handler'>;
type Text = Written | undefined;

/** Whether containerd's file holds exactly this text. */
export async function holds(root: string, { file, text }: Written): Promise<boolean> {
  return ((await contentOf(root, file)) ?? '').includes(text);
}

/** Even if it was changed since; undefined if there is none. */
export async function foundIn({ root, handler }: Place, file: string): Promise<string | undefined> {
  const content = (await contentOf(root, file)) ?? '';
  return [...content.matchAll(BLOCKS)].find(([, name]) => name === handler)?.[0];
}

export function isOwnText(content: string): boolean {
  return content.replace(BLOCKS, '').replace(HEAD, '').trim() === '';
}

/** Each byte is a character; `after` is "" if the file goes. */
export type Edit = {
  readonly file: string;
  readonly before: string | undefined;
  readonly after: string;
};

/**
 * `next` replaces `old`, the handler's own text; either may be absent. All else keeps its bytes. Throws a
 * {@link Refusal} if the text was edited since.
 */
export async function planEdits(node: Place, old: Text, next: Text): Promise<readonly Edit[]> {
  const edits =
    old?.file === next?.file
      ? [await planEdit(node, old, next)]
      : [await planEdit(node, old, undefined), await planEdit(node, undefined, next)];
  return edits.filter((edit) => edit !== undefined);
}

async function planEdit(node: Place, old: Text, next: Text): Promise<Edit | undefined> {
  const { root } = node;
  const file = (old ?? next)?.file;
  if (file === undefined) return undefined;
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

/** Throws a {@link Refusal} if a file changed since they were planned, as by Ansible or nodeadm. */
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
 * Runs `work` with a copy of the configuration as it will be: a root file beside the real one, with its
 * imports, and drafts of the edited files. containerd loads none of these. At the path there is nothing if
 * there will be no root file.
 */
export async function withDraft<T>(
  { root, host, containerdConfig }: Pick<Node, 'root' | 'host' | 'containerdConfig'>,
  edits: readonly Edit[],
  work: (config: string) => Promise<T>,
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
      const like = await lstat(local).catch(() => undefined);
      await writeDraft(draftOf(local), Buffer.from(text, 'latin1'), like).catch((cause) => {
        throw new Error(`Cannot write "${draftOf(file)}"`, { cause });
      });
    }
    return await work(draftOf(containerdConfig));
  } finally {
    for (const path of paths) await rm(path, { force: true });
  }
}

/** Of a run that was killed. */
export async function removeDrafts(
  { root, containerdConfig }: Pick<Node, 'root' | 'containerdConfig'>,
  texts: readonly (Written | undefined)[],
): Promise<void> {
  for (const file of [containerdConfig, ...texts.flatMap((each) => each?.file ?? [])])
    await rm(draftOf(join(root, file)), { force: true });
}

/** May have several lines and comments. */
const IMPORTS =
  /^[ \t]*(?:"imports"|'imports'|imports)[ \t]*=[ \t]*\[(?:[^\]"'#]|"(?:\\.|[^"\\])*"|'[^']*'|#[^\n]*)*\]/m;

/** Imports drafts instead of the files that they replace. */
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

/** With the next block instead of the old one, or of the handler that it takes over. */
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

/** In the form of diff. */
export function diffOf({ file, before = '', after }: Edit): string {
  const lines = diff(before.split('\n'), after.split('\n'));
  return [
    `--- ${before === '' ? '/dev/null' : file}`,
    `+++ ${after === '' ? '/dev/null' : file}`,
    ...lines.flatMap(([side, line]) => (side === 0 ? [] : `${side > 0 ? '-' : '+'}${line}`)),
  ].join('\n');
}
