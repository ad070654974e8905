import { posix } from 'node:path';
import { glob } from '../host/glob.ts';
import type { Host } from '../host/host.ts';
import { parseToml, TomlFault, type TomlTable, type TomlValue } from './toml.ts';
import { TomlLines } from './toml-lines.ts';

/** One configuration file as it is on disk. `version` is 0 when the file names none. */
export type ContainerdFile = {
  readonly path: string;
  readonly version: number;
  readonly plugins: TomlTable;
  readonly disabledPlugins: readonly string[];
  readonly imports: readonly string[];
  readonly tree: TomlTable;
  readonly lines: TomlLines;
};

/** Something in the files with which containerd would not start, or would start without its CRI plugin. */
export type ConfigFault = { readonly file: string; readonly line: number; readonly problem: string };

/** The files that containerd would load, in the order in which it merges them. */
export type ContainerdFiles = { readonly files: readonly ContainerdFile[]; readonly fault?: ConfigFault };

const MAX_FILES = 100;

/**
 * Follows `imports` as every containerd does: breadth first, a relative path from the importing file's
 * directory, a glob only with "*", a path that was loaded before skipped.
 * No files at all means that the root file does not exist: containerd then runs on its defaults.
 * Throws when a file exists and cannot be read, or when there are more than 100.
 * https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/server/config/config.go
 */
export async function readContainerdFiles(host: Host, root: string): Promise<ContainerdFiles> {
  const loaded = new Map<string, ContainerdFile>();
  const pending: { path: string; importer?: ContainerdFile }[] = [{ path: posix.resolve('/', root) }];
  for (let next = pending.shift(); next; next = pending.shift()) {
    const { path, importer } = next;
    if (loaded.has(path)) continue;
    if (loaded.size >= MAX_FILES) {
      throw new Error(`Cannot read containerd configuration "${root}": more than ${MAX_FILES} files`);
    }
    const files = [...loaded.values()];
    const stat = await host.stat(path);
    if (!stat && !importer) return { files };
    const missing = !stat ? 'does not exist' : stat.kind === 'directory' ? 'is a directory' : undefined;
    if (missing) {
      if (!importer) return { files, fault: { file: path, line: 1, problem: missing } };
      const problem = `imports "${path}", which ${missing}`;
      return { files, fault: { file: importer.path, line: importer.lines.find(['imports']), problem } };
    }
    const file = await readContainerdFile(host, path);
    if ('problem' in file) return { files, fault: file };
    loaded.set(path, file);
    for (const pattern of file.imports) {
      const absolute = posix.resolve(posix.dirname(path), pattern);
      const paths = absolute.includes('*') ? await glob(host, absolute) : [absolute];
      if (!paths) {
        const problem = `imports the malformed pattern "${pattern}"`;
        return { files, fault: { file: path, line: file.lines.find(['imports']), problem } };
      }
      pending.push(...paths.map((imported) => ({ path: imported, importer: file })));
    }
  }
  return { files: [...loaded.values()] };
}

/** Reads one file, its imports not followed; a file that containerd would refuse comes back as its fault. */
export async function readContainerdFile(host: Host, path: string): Promise<ContainerdFile | ConfigFault> {
  const text = await host.readText(path);
  if (text === undefined) throw new Error(`Cannot read host file "${path}": it vanished while it was read`);
  try {
    return parseContainerdFile(text, path);
  } catch (cause) {
    if (!(cause instanceof TomlFault)) throw cause;
    return { file: path, line: cause.line, problem: cause.message };
  }
}

/** Parses the text of one file; throws {@link TomlFault} for what containerd would not decode. */
export function parseContainerdFile(text: string, path: string): ContainerdFile {
  const tree = parseToml(text, path);
  const lines = new TomlLines(text);
  const wrong = (key: string, wanted: string) =>
    new TomlFault(path, lines.find([key]), `${key} is not ${wanted}`);
  const version = tree.get('version') ?? 0;
  if (typeof version !== 'number' || !Number.isInteger(version)) throw wrong('version', 'an integer');
  const plugins = tree.get('plugins') ?? new Map();
  if (!(plugins instanceof Map)) throw wrong('plugins', 'a table');
  const imports = tree.get('imports') ?? [];
  if (!isStrings(imports)) throw wrong('imports', 'a list of strings');
  const disabledPlugins = tree.get('disabled_plugins') ?? [];
  if (!isStrings(disabledPlugins)) throw wrong('disabled_plugins', 'a list of strings');
  return { path, version, plugins, disabledPlugins, imports, tree, lines };
}

function isStrings(value: TomlValue): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
