import { posix } from 'node:path';
import { glob } from '../host/glob.ts';
import type { Host } from '../host/host.ts';
import { type ConfigRules, highestConfigVersion } from './release.ts';
import { parseToml, TomlFault, TomlLines, type TomlTable, type TomlValue, tableAt } from './toml.ts';

/** Plugin ids under which containerd has kept its CRI configuration, oldest first. */
export const CRI_V1 = 'cri';
/** See {@link CRI_V1}: versions 2 of the configuration. */
export const CRI_V2 = 'io.containerd.grpc.v1.cri';
/** See {@link CRI_V1}: versions 3 and 4. */
export const CRI_V3 = 'io.containerd.cri.v1.runtime';

/** The plugin section in which the CRI plugin finds its runtimes. */
export function criSection(rules: ConfigRules, version: number): string {
  if (rules !== '1.x') return CRI_V3;
  return version < 2 ? CRI_V1 : CRI_V2;
}

/** The one configuration that containerd makes of its files. */
export type Merged = {
  readonly version: number;
  readonly plugins: TomlTable;
  readonly fault?: ConfigFault;
};

/** Called when the table `from` is merged into `to`, to follow where a table came from. */
export type OnMerge = (to: TomlTable, from: TomlTable) => void;

/** How the files become one: the rules, and whether a drop-in newer than the root file is refused. */
export type MergeOptions = {
  readonly rules: ConfigRules;
  readonly refusesNewerDropIn?: boolean;
  readonly onMerge?: OnMerge;
};

/**
 * Merges the files in their order exactly as the containerd of those rules does; the tables are changed.
 * 1.x: https://github.com/containerd/containerd/blob/v1.7.34/services/server/config/config.go
 * 2.0 to 2.2: https://github.com/containerd/containerd/blob/v2.2.2/cmd/containerd/server/config/config.go
 * 2.3 and newer: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/server/config/config.go
 */
export function mergeFiles(files: readonly ContainerdFile[], options: MergeOptions): Merged {
  const fault = versionFault(files, options);
  const merge = { '1.x': mergeOne, '2.0': mergeTwo, '2.3': mergeTwoThree }[options.rules];
  const merged = merge(files, options.onMerge ?? (() => undefined));
  const found =
    fault ?? (options.rules === '1.x' ? pluginIdFault(files, merged.version) : collisionFault(files));
  return found ? { ...merged, fault: found } : merged;
}

/** 1.x: a later file replaces a plugin's whole section; without any version the short ids of version 1 count. */
function mergeOne(files: readonly ContainerdFile[]): Merged {
  const plugins: TomlTable = new Map();
  let version = 1;
  for (const file of files) {
    if (file.version !== 0) version = file.version;
    for (const [id, section] of file.plugins) plugins.set(id, section);
  }
  return { version, plugins };
}

/**
 * 2.0 to 2.2: the last version named counts for all files, and only when it is below 3 are the merged
 * sections migrated. A file of version 0 or 1 is only renamed, so that alone it is read as version 3 and lost.
 */
function mergeTwo(files: readonly ContainerdFile[], onMerge: OnMerge): Merged {
  let plugins: TomlTable = new Map();
  let version = 3;
  for (const file of files) {
    if (file.version > 1) version = file.version;
    mergeTables(plugins, file.version <= 1 ? renameShortIds(file.plugins) : file.plugins, onMerge);
  }
  if (version < 2) plugins = renameShortIds(plugins);
  if (version < 3) migrateCri(plugins);
  return { version, plugins };
}

/** 2.3 and newer: each file is brought to version 4 before it is merged. */
function mergeTwoThree(files: readonly ContainerdFile[], onMerge: OnMerge): Merged {
  const plugins: TomlTable = new Map();
  let version = 4;
  for (const file of files) {
    let own = file.plugins;
    for (let step = file.version; step < 4; step += 1) {
      if (step === 1) own = renameShortIds(own);
      migrateCri(own);
    }
    version = Math.max(version, file.version);
    mergeTables(plugins, own, onMerge);
  }
  return { version, plugins };
}

/** Copies what is under `containerd` of the old section to the new one, only keys that are not there yet. */
function migrateCri(plugins: TomlTable): void {
  const from = plugins.get(CRI_V2);
  if (!(from instanceof Map)) return;
  const to = tableAt(plugins, [CRI_V3]) ?? new Map();
  const old = tableAt(from, ['containerd']);
  if (old) {
    const moved: TomlTable = tableAt(to, ['containerd']) ?? new Map();
    for (const [key, value] of old) if (!moved.has(key)) moved.set(key, value);
    to.set('containerd', moved);
  }
  plugins.set(CRI_V3, to);
  plugins.set(CRI_V2, new Map());
}

function renameShortIds(plugins: TomlTable): TomlTable {
  return new Map([...plugins].map(([id, section]) => [id === CRI_V1 ? CRI_V2 : id, section]));
}

/** Tables merge key by key; any other value, a list too, is replaced. */
function mergeTables(to: TomlTable, from: TomlTable, onMerge: OnMerge): void {
  for (const [key, value] of from) {
    const present: TomlValue | undefined = to.get(key);
    if (present instanceof Map && value instanceof Map) {
      if (present === value) continue;
      onMerge(present, value);
      mergeTables(present, value, onMerge);
    } else {
      to.set(key, value);
    }
  }
}

function versionFault(files: readonly ContainerdFile[], options: MergeOptions): ConfigFault | undefined {
  const highest = highestConfigVersion(options.rules);
  // 1.x and 2.0 to 2.2 judge the last version named; 2.3 ends with the highest.
  const deciding = options.rules === '2.3' ? files : files.filter((file) => file.version !== 0).slice(-1);
  const tooNew = deciding.find((file) => file.version > highest);
  if (tooNew) {
    const problem = `version ${tooNew.version} is newer than ${highest}, the highest that this containerd reads`;
    return { file: tooNew.path, line: tooNew.lines.find(['version']), problem };
  }
  if (!options.refusesNewerDropIn) return undefined;
  const first = files.find((file) => file.version !== 0);
  const newer = files.find((file) => first && file.version > first.version);
  if (!first || !newer) return undefined;
  const problem = `version ${newer.version} is higher than version ${first.version} of "${first.path}"`;
  return { file: newer.path, line: newer.lines.find(['version']), problem };
}

/** 1.x refuses a version 2 configuration in which a plugin has no full id, as an unquoted one has not. */
function pluginIdFault(files: readonly ContainerdFile[], version: number): ConfigFault | undefined {
  if (version !== 2) return undefined;
  for (const file of files) {
    const id = [...file.plugins.keys()].find((key) => key.split('.').length < 4);
    if (id === undefined) continue;
    const problem = `"${id}" is not a plugin id of version 2, such as "${CRI_V2}"`;
    return { file: file.path, line: file.lines.find(['plugins', id]), problem };
  }
  return undefined;
}

/** 2.x renames "cri" of an old file in the random order of a Go map: beside the full id either may win. */
function collisionFault(files: readonly ContainerdFile[]): ConfigFault | undefined {
  const file = files.find(
    ({ version, plugins }) => version < 2 && plugins.has(CRI_V1) && plugins.has(CRI_V2),
  );
  if (!file) return undefined;
  const problem = `it has both "${CRI_V1}" and "${CRI_V2}", and chance decides which of them containerd keeps`;
  return { file: file.path, line: file.lines.find(['plugins', CRI_V1]), problem };
}

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
