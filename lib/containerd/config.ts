import type { Host } from '../host/host.ts';
import { type Runtime, runtimeOf } from './client.ts';
import {
  type ContainerdFile,
  type ContainerdFiles,
  faultIn,
  isTemplate,
  readContainerdFiles,
  readUnimportedFiles,
} from './config-files.ts';
import { type ConfigRules, parseContainerdRelease, rulesForConfigVersion, rulesOf } from './release.ts';
import {
  type ConfigFault,
  findWrongKind,
  type Kinds,
  type TomlTable,
  type TomlValue,
  tableAt,
  toPlain,
} from './toml.ts';

/** `file` and `line` are absent for the built-in "runc". */
export type ConfiguredRuntime = Runtime & { readonly file?: string; readonly line?: number };

/** A table of a handler, or similar, without effect. `line` is 1-based. */
export type IgnoredMention = {
  readonly handler: string;
  readonly file: string;
  readonly line: number;
  readonly why: string;
  /** False for a file that no other imports. */
  readonly isLoaded: boolean;
};

/** The configuration that containerd would load if it started now. */
export type ContainerdConfig = {
  /** In merge order; empty without a root file. */
  readonly files: readonly string[];
  readonly rules: ConfigRules;
  /** True if the release is unknown and the rules are guessed from the files. */
  readonly rulesAssumed: boolean;
  readonly runtimes: ReadonlyMap<string, ConfiguredRuntime>;
  readonly ignored: readonly IgnoredMention[];
  /** Why containerd, or its CRI plugin, would not start; `runtimes` is then empty. */
  readonly fault?: ConfigFault;
};

/** Throws if an existing file cannot be read; a file that containerd would refuse is a `fault`. */
export async function readContainerdConfig(
  host: Host,
  root: string,
  release?: string,
): Promise<ContainerdConfig> {
  const loaded = await readContainerdFiles(host, root);
  const known = release === undefined ? undefined : parseContainerdRelease(release);
  const newest = Math.max(0, ...loaded.files.map((file) => file.version));
  const config = resolveConfig(loaded, known ? rulesOf(known) : rulesForConfigVersion(newest));
  const unimported = (await readUnimportedFiles(host, root, loaded.files)).flatMap((file) => {
    const why = isTemplate(file.path)
      ? 'it is a template that was not rendered since: restart k3s, RKE2 or MicroK8s, unless another template takes precedence'
      : `no file that containerd loads imports "${file.path}"`;
    return mentionsIn(file).map((mention) => ({ ...mention, why, isLoaded: false }));
  });
  return { ...config, ignored: [...config.ignored, ...unimported], rulesAssumed: !known };
}

/** The pure part of {@link readContainerdConfig}. Modifies the tables of `files`. */
export function resolveConfig(
  { files, fault: unreadable }: ContainerdFiles,
  rules: ConfigRules,
): Omit<ContainerdConfig, 'rulesAssumed'> {
  const mentions = files.flatMap(mentionsIn);
  const merged = mergeFiles(files, rules);
  const decoded = decodeRuntimes(files, merged, rules);
  const mentionsOf = (table: TomlTable | undefined) =>
    mentions.filter((mention) => table !== undefined && mergedTable(mention.table, merged) === table);
  const effective = new Set([...decoded.runtimes.values()].flatMap(({ table }) => mentionsOf(table)));
  const fault = unreadable ?? faultOf(files, merged.version, rules) ?? decoded.fault;
  const runtimes = new Map<string, ConfiguredRuntime>();
  for (const [name, { table, ...runtime }] of fault ? [] : decoded.runtimes) {
    // The last file that sets the table wins.
    const source = mentionsOf(table).at(-1);
    runtimes.set(name, source ? { ...runtime, file: source.file, line: source.line } : runtime);
  }
  const ignored = mentions.filter((mention) => !effective.has(mention));
  return {
    files: files.map(({ path }) => path),
    rules,
    runtimes,
    ignored: ignored.map((mention) => {
      return { ...mention, why: whyIgnored(mention, rules, merged.version), isLoaded: true };
    }),
    ...(fault && { fault }),
  };
}

/** The plugin that holds the runtimes, by configuration version: 1, 2, and 3 or 4. */
const [CRI_V1, CRI_V2, CRI_V3] = [
  'cri',
  'io.containerd.grpc.v1.cri',
  'io.containerd.cri.v1.runtime',
] as const;

function criSection(rules: ConfigRules, version: number): string {
  if (rules !== '1.x') return CRI_V3;
  return version < 2 ? CRI_V1 : CRI_V2;
}

/** `into` maps a table to the one it was merged into. */
type Merged = {
  readonly version: number;
  readonly plugins: TomlTable;
  readonly into: Map<TomlTable, TomlTable>;
};

/**
 * Merges as each release does. 1.x:
 * https://github.com/containerd/containerd/blob/v1.7.34/services/server/config/config.go 2.0 to 2.2:
 * https://github.com/containerd/containerd/blob/v2.2.2/cmd/containerd/server/config/config.go 2.3 and newer:
 * https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/server/config/config.go
 */
function mergeFiles(files: readonly ContainerdFile[], rules: ConfigRules): Merged {
  const version = mergedVersion(files, rules);
  const merged: Merged = { version, plugins: new Map(), into: new Map() };
  for (const file of files) {
    const own = rules !== '1.x' && file.version <= 1 ? renameShortId(file.plugins) : file.plugins;
    if (rules === '2.3' && file.version < 4) migrateCri(own);
    // In 1.x a later file replaces a plugin's whole section.
    if (rules === '1.x') for (const [id, section] of own) merged.plugins.set(id, section);
    else mergeTables(merged.plugins, own, merged.into);
  }
  if (rules === '2.0' && version < 3) migrateCri(merged.plugins);
  return merged;
}

/**
 * The last version named applies to all files, but in 2.0 one of 0 or 1 only has its ids renamed, so alone it
 * counts as 3 and its handlers are lost. 2.3 migrates each file to version 4.
 */
function mergedVersion(files: readonly ContainerdFile[], rules: ConfigRules): number {
  const versions = files.map(({ version }) => version);
  if (rules === '1.x') return versions.findLast((version) => version > 0) ?? 1;
  if (rules === '2.0') return versions.findLast((version) => version > 1) ?? 3;
  return Math.max(4, ...versions);
}

function renameShortId(plugins: TomlTable): TomlTable {
  return new Map([...plugins].map(([id, section]) => [id === CRI_V1 ? CRI_V2 : id, section]));
}

/** Moves `containerd` to the new section, except for keys already there. */
function migrateCri(plugins: TomlTable): void {
  const from = plugins.get(CRI_V2);
  if (!(from instanceof Map)) return;
  const to = tableAt(plugins, [CRI_V3]) ?? new Map();
  const old = tableAt(from, ['containerd']);
  if (old) to.set('containerd', new Map([...old, ...(tableAt(to, ['containerd']) ?? [])]));
  plugins.set(CRI_V3, to);
  plugins.set(CRI_V2, new Map());
}

function mergeTables(to: TomlTable, from: TomlTable, into: Merged['into']): void {
  for (const [key, value] of from) {
    const present = to.get(key);
    if (present instanceof Map && value instanceof Map) {
      into.set(value, present);
      mergeTables(present, value, into);
    } else {
      to.set(key, value);
    }
  }
}

function mergedTable(table: TomlTable, merged: Merged): TomlTable {
  const next = merged.into.get(table);
  return next ? mergedTable(next, merged) : table;
}

type RuntimeTable = Runtime & { readonly table?: TomlTable };

/** `fault`: a value that stops the CRI plugin. */
type Decoded = {
  readonly runtimes: ReadonlyMap<string, RuntimeTable>;
  readonly fault?: ConfigFault | undefined;
};

const KINDS: Kinds = {
  runtime_type: 'a string',
  runtime_path: 'a string',
  options: 'a table',
  snapshotter: 'a string',
  pod_annotations: 'a list of strings',
  base_runtime_spec: 'a string',
  cni_conf_dir: 'a string',
  io_type: 'a string',
};

/** https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config_unix.go */
const BUILT_IN = runtimeOf({ runtimeType: 'io.containerd.runc.v2' });

/**
 * A table of runtimes replaces the built-in "runc" in 1.x, and leaves its default handler without a runtime;
 * 2.x keeps "runc". https://github.com/containerd/containerd/blob/v1.7.34/pkg/cri/config/config.go
 */
function decodeRuntimes(files: readonly ContainerdFile[], merged: Merged, rules: ConfigRules): Decoded {
  const section = criSection(rules, merged.version);
  const containerd = tableAt(merged.plugins, [section, 'containerd']);
  const table = containerd?.get('runtimes');
  const runtimes = new Map<string, RuntimeTable>();
  if (rules !== '1.x' || table === undefined) runtimes.set('runc', BUILT_IN);
  const wrong = (below: readonly string[], problem: string): Decoded => {
    const keys = ['plugins', section, 'containerd', ...below];
    const file = files.findLast(({ lines }) => lines.has(keys)) ?? files.at(-1);
    return { runtimes, fault: file && faultIn(file, keys, problem) };
  };
  if (table !== undefined && !(table instanceof Map)) return wrong(['runtimes'], 'runtimes is not a table');
  for (const [name, value] of table ?? []) {
    if (!(value instanceof Map)) return wrong(['runtimes', name], `"${name}" is not a table`);
    const problem = findWrongKind(value, KINDS)?.problem;
    if (problem !== undefined) return wrong(['runtimes', name], problem);
    runtimes.set(name, { ...runtimeOf({ ...runtimes.get(name), ...fieldsOf(value) }), table: value });
  }
  const defaultName = containerd?.get('default_runtime_name') ?? 'runc';
  // The deprecated default_runtime of 1.x wins over the name.
  const isDefined = rules === '1.x' && tableAt(containerd, ['default_runtime'])?.get('runtime_type');
  if (isDefined || runtimes.has(String(defaultName))) return { runtimes };
  const problem = `the CRI plugin does not start: default_runtime_name is "${defaultName}", and the runtimes table has no such handler`;
  return wrong([containerd?.has('default_runtime_name') ? 'default_runtime_name' : 'runtimes'], problem);
}

/** "runtime_type" is the field `runtimeType`. */
function fieldsOf(table: TomlTable): Partial<Runtime> {
  const fields = [...table].flatMap(([key, value]) => {
    const field = key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    return Object.hasOwn(KINDS, key) ? [[field, toPlain(value)]] : [];
  });
  return Object.fromEntries(fields);
}

/** The first problem that keeps containerd, or its CRI plugin, from starting. */
function faultOf(
  files: readonly ContainerdFile[],
  version: number,
  rules: ConfigRules,
): ConfigFault | undefined {
  const highest = { '1.x': 2, '2.0': 3, '2.3': 4 }[rules];
  const ids: readonly string[] = rules === '1.x' ? [CRI_V1, CRI_V2] : [CRI_V1, CRI_V2, CRI_V3];
  for (const file of files) {
    const tooNew = `version ${version} is newer than ${highest}, the highest that this containerd reads`;
    if (file.version === version && version > highest) return faultIn(file, ['version'], tooNew);
    // 1.x with version 2 refuses an incomplete plugin id, such as an unquoted one.
    const short = [...file.plugins.keys()].find((key) => key.split('.').length < 4);
    if (short !== undefined && rules === '1.x' && version === 2) {
      const problem = `"${short}" is not a plugin id of version 2, such as "${CRI_V2}"`;
      return faultIn(file, ['plugins', short], problem);
    }
    // Docker's package of containerd disables the CRI plugin.
    const disabled = file.disabledPlugins.find((id) => ids.includes(id));
    const problem = `disabled_plugins has "${disabled}", so that no pod can be started`;
    if (disabled !== undefined) return faultIn(file, ['disabled_plugins'], problem);
  }
  return undefined;
}

type Mention = Pick<IgnoredMention, 'handler' | 'file' | 'line'> & {
  readonly path: readonly string[];
  readonly table: TomlTable;
};

function mentionsIn(file: ContainerdFile): readonly Mention[] {
  const visit = (value: TomlValue, path: readonly string[]): readonly Mention[] => {
    if (!(value instanceof Map)) return [];
    const below = [...value].flatMap(([key, item]) => visit(item, [...path, key]));
    if (!looksLikeHandler(value, path)) return below;
    const handler = path.at(-1) ?? '';
    return [{ handler, file: file.path, line: file.lines.find(path), path, table: value }, ...below];
  };
  return visit(file.tree, []);
}

function looksLikeHandler(table: TomlTable, path: readonly string[]): boolean {
  return path.length > 0 && (table.has('runtime_type') || /^runtimes?$/i.test(path.at(-2) ?? ''));
}

/** Why containerd does not use a mention. */
function whyIgnored({ path }: Mention, rules: ConfigRules, version: number): string {
  const section = criSection(rules, version);
  const header = `plugins.${section === CRI_V1 ? section : `"${section}"`}.containerd.runtimes`;
  const isRead = ['plugins', section, 'containerd', 'runtimes'].every((key, at) => path[at] === key);
  return isRead
    ? 'a later file replaces it'
    : `containerd reads [${header}] (configuration version ${version})`;
}

export type HandlerRuntime = ConfiguredRuntime & {
  readonly seen: 'loaded' | 'disk' | 'assumed';
};

/** For a handler that is not configured. */
export const ASSUMED: HandlerRuntime = {
  ...runtimeOf({ runtimeType: 'io.containerd.runsc.v1' }),
  seen: 'assumed',
};

/** "" if absent. containerd ignores the case of option names. */
export function optionOf(runtime: Pick<HandlerRuntime, 'options'>, name: string): string {
  const key = Object.keys(runtime.options).find((known) => known.toLowerCase() === name.toLowerCase());
  const value = key === undefined ? undefined : runtime.options[key];
  return typeof value === 'string' ? value : '';
}
