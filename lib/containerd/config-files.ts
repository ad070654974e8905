import { posix } from 'node:path';
import { glob } from '../host/glob.ts';
import type { Host } from '../host/host.ts';
import {
  type ConfigFault,
  type Kinds,
  parseTomlFile,
  type TomlLines,
  type TomlTable,
  tableAt,
  toFault,
} from './toml.ts';

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
    const ifThere = stat?.kind === 'directory' ? 'is a directory' : undefined;
    const problem = stat === undefined ? 'does not exist' : ifThere;
    if (problem && importer)
      return { files, fault: faultIn(importer, ['imports'], `imports "${path}", which ${problem}`) };
    if (problem) return { files, fault: { file: path, line: 1, problem } };
    const text = await host.readText(path);
    if (text === undefined) throw new Error(`Cannot read host file "${path}": it vanished while it was read`);
    let file: ContainerdFile;
    try {
      file = parseContainerdFile(text, path);
    } catch (cause) {
      return { files, fault: toFault(cause) };
    }
    loaded.set(path, file);
    for (const pattern of file.imports) {
      const absolute = posix.resolve(posix.dirname(path), pattern);
      const paths = absolute.includes('*') ? await glob(host, absolute) : [absolute];
      pending.push(...paths.map((imported) => ({ path: imported, importer: file })));
    }
  }
  return { files: [...loaded.values()] };
}

const KINDS: Kinds = {
  version: 'an integer',
  plugins: 'a table',
  imports: 'a list of strings',
  disabled_plugins: 'a list of strings',
};

/** Throws {@link TomlFault} if containerd could not decode it. */
export function parseContainerdFile(text: string, path: string): ContainerdFile {
  const { tree, lines } = parseTomlFile(text, path, KINDS);
  return {
    path,
    version: (tree.get('version') ?? 0) as number,
    plugins: tableAt(tree, ['plugins']) ?? new Map(),
    disabledPlugins: (tree.get('disabled_plugins') ?? []) as readonly string[],
    imports: (tree.get('imports') ?? []) as readonly string[],
    tree,
    lines,
  };
}

/** Relative to the directory of the root file. */
const DROP_IN_DIRECTORIES = ['.', 'conf.d', 'config.d', 'containerd.d', 'config.toml.d', 'config-v3.toml.d'];
const USUAL_DIRECTORY = '/etc/containerd';

/** Of k3s, RKE2 or MicroK8s, which render it into a file that containerd loads. */
export function isTemplate(path: string): boolean {
  return /(\.tmpl|-template\.toml)$/.test(path);
}

/** In usual places for drop-ins. Unreadable files are left out: they would only explain a fault. */
export async function readUnimportedFiles(
  host: Host,
  root: string,
  loaded: readonly ContainerdFile[],
): Promise<readonly ContainerdFile[]> {
  const directories = [...new Set([posix.dirname(root), USUAL_DIRECTORY])].flatMap((directory) =>
    DROP_IN_DIRECTORIES.map((name) => posix.join(directory, name)),
  );
  const paths = (await Promise.all(directories.map((directory) => dropInsOf(host, directory)))).flat();
  const known = new Set([posix.resolve('/', root), ...loaded.map(({ path }) => path)]);
  const found: ContainerdFile[] = [];
  for (const path of paths.filter((candidate) => !known.has(candidate)).slice(0, MAX_FILES)) {
    try {
      const text = (await host.readText(path)) ?? '';
      found.push(parseContainerdFile(isTemplate(path) ? withoutActions(text) : text, path));
    } catch {}
  }
  return found;
}

async function dropInsOf(host: Host, directory: string): Promise<readonly string[]> {
  const names = (await host.list(directory).catch(() => undefined)) ?? [];
  // Read whole: a wrong ending is one reason why a file is not imported.
  const isDropIns = directory.endsWith('.d');
  return names
    .filter((name) => isDropIns || name.endsWith('.toml') || isTemplate(name))
    .map((name) => posix.join(directory, name));
}

/** A Go or shell template without its actions; lines keep their numbers. */
function withoutActions(template: string): string {
  return template.replace(/\{\{.*?\}\}|\$\{\w+\}/gs, (action) => action.replace(/[^\n]/g, ''));
}
