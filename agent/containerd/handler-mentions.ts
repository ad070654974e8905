import type { ContainerdFile } from './files.ts';
import { CRI_V1, CRI_V2, CRI_V3, criSection } from './merge.ts';
import type { ConfigRules } from './release.ts';
import type { TomlTable, TomlValue } from './toml.ts';

/** A place in a file that names a handler, whether or not containerd reads it. `line` is 1-based. */
export type Mention = {
  readonly handler: string;
  readonly file: string;
  readonly line: number;
  /** Keys from the top of the file to the handler's table. */
  readonly path: readonly string[];
  readonly table: TomlTable;
};

/** A mention that has no effect, and why. */
export type IgnoredMention = Pick<Mention, 'handler' | 'file' | 'line'> & {
  readonly why: string;
  /** False for a file that no other imports. */
  readonly isLoaded: boolean;
};

/** Tables of containerd 1.x that name a handler of their own, beside the table of runtimes. */
export const LEGACY_NAMES: Readonly<Record<string, string>> = {
  default_runtime: 'default',
  untrusted_workload_runtime: 'untrusted',
};

/** Every table of a file that looks like a handler: it has a runtime_type, or is in a table of runtimes. */
export function mentionsIn(file: ContainerdFile): readonly Mention[] {
  const mentions: Mention[] = [];
  const visit = (value: TomlValue, path: readonly string[]): void => {
    if (Array.isArray(value)) for (const item of value) visit(item, path);
    if (!(value instanceof Map)) return;
    if (looksLikeHandler(value, path)) {
      const name = path.at(-1) ?? '';
      const handler = LEGACY_NAMES[name] ?? name;
      mentions.push({ handler, file: file.path, line: file.lines.find(path), path, table: value });
    }
    for (const [key, item] of value) visit(item, [...path, key]);
  };
  visit(file.tree, []);
  return mentions;
}

/** Why containerd does not use a mention, in words for the person who wrote it. */
export function whyIgnored(mention: Mention, rules: ConfigRules, version: number): string {
  const section = criSection(rules, version);
  // The table of runtimes that containerd reads, as a person writes its header.
  const read = `[plugins.${section === CRI_V1 ? section : `"${section}"`}.containerd.runtimes]`;
  const [top, id = '', ...rest] = mention.path;
  if (top !== 'plugins') return `it stands outside of plugins; containerd reads ${read}`;
  if (id === 'io') return `the plugin id is not quoted, so it is split at its dots; containerd reads ${read}`;
  if (id !== CRI_V1 && id !== CRI_V2 && id !== CRI_V3) {
    return `"${id}" is not the plugin that holds runtimes; containerd reads ${read}`;
  }
  if (rest[0] !== 'containerd' || (rest[1] !== 'runtimes' && !LEGACY_NAMES[rest[1] ?? ''])) {
    return `"${rest.slice(0, -1).join('.')}" is not "containerd.runtimes"; containerd reads ${read}`;
  }
  if (id === section) {
    return rules === '1.x'
      ? 'a file loaded later has the same plugin section, and this containerd replaces the whole section'
      : 'a file loaded later sets the same key to another value';
  }
  if (rules === '1.x' && id === CRI_V3) return `containerd 1.x does not know this plugin; it reads ${read}`;
  if (rules === '1.x' && version < 2) {
    return `no file says "version = 2", so version 1 counts and containerd reads ${read}`;
  }
  if (rules === '1.x') return `version 2 does not read short plugin names; containerd reads ${read}`;
  if (version < 3 || rules === '2.3') {
    return `${read} is present as well, and what is there is kept instead of this older table`;
  }
  return `the configuration counts as version ${version}, where containerd reads ${read}`;
}

function looksLikeHandler(table: TomlTable, path: readonly string[]): boolean {
  if (path.length === 0 || path[0] === 'proxy_plugins') return false;
  if (table.has('runtime_type')) return true;
  const [parent, name] = path.slice(-2);
  return name !== undefined && parent !== undefined && /^runtimes?$/i.test(parent);
}
