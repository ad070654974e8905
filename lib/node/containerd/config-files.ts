import { posix } from 'node:path';
import { glob } from '../host/glob.ts';
import type { Host } from '../host/host.ts';
import { parseToml, TomlFault, TomlLines, type TomlTable, type TomlValue } from './toml.ts';

/** `version` is 0 if the file has none. */
export type ContainerdFile = {
  readonly path: string;
  readonly version: number;
  readonly plugins: TomlTable;
  readonly disabledPlugins: readonly string[];
  readonly imports: readonly string[];
  readonly tree: TomlTable;
  readonly lines: TomlLines;
};

/** Why containerd, or its CRI plugin, would not start. `line` is 1-based. */
export type ConfigFault = { readonly file: string; readonly line: number; readonly problem: string };

export function faultIn(
  { path, lines }: ContainerdFile,
  keys: readonly string[],
  problem: string,
): ConfigFault {
  return { file: path, line: lines.find(keys), problem };
}

/** In the order in which containerd merges them. */
export type ContainerdFiles = { readonly files: readonly ContainerdFile[]; readonly fault?: ConfigFault };

const MAX_FILES = 100;

/**
 * Follows `imports` as containerd does: breadth first, paths relative to the importing file, wildcards only
 * with "*", each file once. Throws if an existing file cannot be read, or there are more than 100.
 * https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/server/config/config.go
 */
export async function readContainerdFiles(host: Host, root: string): Promise<ContainerdFiles> {
  const loaded = new Map<string, ContainerdFile>();
  const pending: { path: string; importer?: ContainerdFile }[] = [{ path: posix.resolve('/', root) }];
  for (let next = pending.shift(); next; next = pending.shift()) {
    const { path, importer } = next;
    if (loaded.has(path)) continue;
    if (loaded.size >= MAX_FILES)
      throw new Error(`Cannot read containerd configuration "${root}": more than ${MAX_FILES} files`);
    const files = [...loaded.values()];
    const stat = await host.stat(path);
    if (!stat && !importer) return { files };
    const missing = !stat ? 'does not exist' : stat.kind === 'directory' ? 'is a directory' : undefined;
    if (missing && !importer) return { files, fault: { file: path, line: 1, problem: missing } };
    if (missing && importer)
      return { files, fault: faultIn(importer, ['imports'], `imports "${path}", which ${missing}`) };
    const file = await readContainerdFile(host, path);
    if ('problem' in file) return { files, fault: file };
    loaded.set(path, file);
    for (const pattern of file.imports) {
      const absolute = posix.resolve(posix.dirname(path), pattern);
      const paths = absolute.includes('*') ? await glob(host, absolute) : [absolute];
      pending.push(...paths.map((imported) => ({ path: imported, importer: file })));
    }
  }
  return { files: [...loaded.values()] };
}

async function readContainerdFile(host: Host, path: string): Promise<ContainerdFile | ConfigFault> {
  const text = await host.readText(path);
  if (text === undefined) throw new Error(`Cannot read host file "${path}": it vanished while it was read`);
  try {
    return parseContainerdFile(text, path);
  } catch (cause) {
    if (!(cause instanceof TomlFault)) throw cause;
    return { file: path, line: cause.line, problem: cause.message };
  }
}

/** Throws {@link TomlFault} if containerd could not decode it. */
export function parseContainerdFile(text: string, path: string): ContainerdFile {
  const tree = parseToml(text, path);
  const lines = new TomlLines(text);
  const wrong = (key: string, type: string) =>
    new TomlFault(path, lines.find([key]), `${key} is not ${type}`);
  const strings = (key: string): readonly string[] => {
    const value = tree.get(key) ?? [];
    if (!isStrings(value)) throw wrong(key, 'a list of strings');
    return value;
  };
  const version = tree.get('version') ?? 0;
  if (typeof version !== 'number' || !Number.isInteger(version)) throw wrong('version', 'an integer');
  const plugins = tree.get('plugins') ?? new Map();
  if (!(plugins instanceof Map)) throw wrong('plugins', 'a table');
  const [imports, disabledPlugins] = [strings('imports'), strings('disabled_plugins')];
  return { path, version, plugins, disabledPlugins, imports, tree, lines };
}

export function isStrings(value: TomlValue): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** A file in a usual place for drop-ins that containerd does not load. */
export type UnimportedFile = { readonly file: ContainerdFile; readonly isTemplate: boolean };

/** Relative to the directory of the root file. */
const DROP_IN_DIRECTORIES = ['.', 'conf.d', 'config.d', 'containerd.d', 'config.toml.d', 'config-v3.toml.d'];
const USUAL_DIRECTORY = '/etc/containerd';
const TEMPLATE = /(\.tmpl|-template\.toml)$/;

/** Unreadable files are left out: they would only explain a fault. */
export async function readUnimportedFiles(
  host: Host,
  root: string,
  loaded: readonly ContainerdFile[],
): Promise<readonly UnimportedFile[]> {
  const directories = [...new Set([posix.dirname(root), USUAL_DIRECTORY])].flatMap((directory) =>
    DROP_IN_DIRECTORIES.map((name) => posix.join(directory, name)),
  );
  const paths = (await Promise.all(directories.map((directory) => dropInsOf(host, directory)))).flat();
  const known = new Set([posix.resolve('/', root), ...loaded.map(({ path }) => path)]);
  const found: UnimportedFile[] = [];
  for (const path of paths.filter((candidate) => !known.has(candidate)).slice(0, MAX_FILES)) {
    const isTemplate = TEMPLATE.test(path);
    try {
      const text = (await host.readText(path)) ?? '';
      found.push({ file: parseContainerdFile(isTemplate ? withoutActions(text) : text, path), isTemplate });
    } catch {}
  }
  return found;
}

async function dropInsOf(host: Host, directory: string): Promise<readonly string[]> {
  const names = (await host.list(directory).catch(() => undefined)) ?? [];
  // Read whole: a wrong ending is one reason why a file is not imported.
  const isDropIns = directory.endsWith('.d');
  return names
    .filter((name) => isDropIns || name.endsWith('.toml') || TEMPLATE.test(name))
    .map((name) => posix.join(directory, name));
}

/** A Go or shell template without its actions; lines keep their numbers. */
function withoutActions(template: string): string {
  return template.replace(/\{\{.*?\}\}|\$\{\w+\}/gs, (action) => action.replace(/[^\n]/g, ''));
}
