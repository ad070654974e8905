import { posix } from 'node:path';
import type { Host } from '../host/host.ts';
import type { Runtime } from './client.ts';
import {
  type ConfigFault,
  type ContainerdFile,
  CRI_V1,
  CRI_V2,
  CRI_V3,
  criSection,
  type Merged,
  type MergeOptions,
  mergeFiles,
  parseContainerdFile,
  readContainerdFile,
  readContainerdFiles,
} from './config-files.ts';
import {
  type ConfigRules,
  parseContainerdRelease,
  refusesNewerDropIn,
  rulesForConfigVersion,
  rulesOf,
} from './release.ts';
import { type TomlTable, type TomlValue, tableAt, toPlain } from './toml.ts';

/** One handler's table as containerd decodes it. */
export type RuntimeTable = Runtime & {
  /** The table itself, or `undefined` for the handler that containerd has without any file. */
  readonly table?: TomlTable;
};

/** The runtimes table in effect, or a value in it that containerd's CRI plugin would not decode. */
export type Runtimes = {
  readonly runtimes: ReadonlyMap<string, RuntimeTable>;
  /** What is wrong, and the keys below the plugin's section where it stands. */
  readonly wrong?: { readonly path: readonly string[]; readonly problem: string };
};

/** What a handler has of which nothing but the type is written. */
export const BARE = { runtimePath: '', snapshotter: '', options: {}, podAnnotations: [] };

/** https://github.com/containerd/containerd/blob/v2.4.2/internal/cri/config/config_unix.go */
const BUILT_IN: RuntimeTable = { ...BARE, runtimeType: 'io.containerd.runc.v2' };

/**
 * Decodes the handlers of a merged configuration. In 1.x a runtimes table replaces the built-in one, so that
 * a table without "runc" leaves the default handler without a runtime; 2.x keeps "runc" beside it.
 * https://github.com/containerd/containerd/blob/v1.7.34/pkg/cri/config/config.go
 */
export function decodeRuntimes(merged: Merged, rules: ConfigRules): Runtimes {
  const containerd = tableAt(merged.plugins, [criSection(rules, merged.version), 'containerd']);
  const table = containerd?.get('runtimes');
  const runtimes = new Map<string, RuntimeTable>();
  if (rules !== '1.x' || table === undefined) runtimes.set('runc', BUILT_IN);
  let defaultRuntimeName = containerd?.get('default_runtime_name') ?? 'runc';
  const wrong = (path: readonly string[], problem: string): Runtimes => ({
    runtimes,
    wrong: { path: ['containerd', ...path], problem },
  });
  if (table !== undefined && !(table instanceof Map)) return wrong(['runtimes'], 'runtimes is not a table');
  for (const [name, value] of table ?? []) {
    if (!(value instanceof Map)) return wrong(['runtimes', name], `"${name}" is not a table`);
    const problem = undecodable(value);
    if (problem) return wrong(['runtimes', name], problem);
    runtimes.set(name, decode(value, runtimes.get(name)));
  }
  if (rules === '1.x') {
    for (const [key, name] of Object.entries(LEGACY_NAMES)) {
      const legacy = tableAt(containerd, [key]);
      if (!legacy || !text(legacy.get('runtime_type'))) continue;
      runtimes.set(name, decode(legacy, undefined));
      if (name === 'default') defaultRuntimeName = name;
    }
  }
  if (typeof defaultRuntimeName !== 'string') return wrong(['default_runtime_name'], 'it is not a string');
  if (!runtimes.has(defaultRuntimeName)) {
    const problem = `the CRI plugin does not start: default_runtime_name is "${defaultRuntimeName}", and the runtimes table has no such handler`;
    return wrong(containerd?.has('default_runtime_name') ? ['default_runtime_name'] : ['runtimes'], problem);
  }
  return { runtimes };
}

/** The fault of a configuration that turns the CRI plugin off, as Docker's package of containerd does. */
export function disabledFault(files: readonly ContainerdFile[], rules: ConfigRules): ConfigFault | undefined {
  for (const file of files) {
    const id = file.disabledPlugins.find((disabled) => [CRI_V1, CRI_V2, CRI_V3].includes(disabled));
    if (id === undefined || (id === CRI_V3 && rules === '1.x')) continue;
    const problem = `disabled_plugins has "${id}", so that no pod can be started`;
    return { file: file.path, line: file.lines.find(['disabled_plugins']), problem };
  }
  return undefined;
}

function decode(table: TomlTable, builtIn: RuntimeTable | undefined): RuntimeTable {
  const options = table.get('options');
  const read = (key: string, otherwise = '') => text(table.get(key)) ?? otherwise;
  return {
    runtimeType: read('runtime_type', builtIn?.runtimeType),
    runtimePath: read('runtime_path', builtIn?.runtimePath),
    snapshotter: read('snapshotter'),
    podAnnotations: texts(table.get('pod_annotations')) ?? [],
    options: options instanceof Map ? (toPlain(options) as Record<string, unknown>) : {},
    table,
  };
}

function undecodable(table: TomlTable): string | undefined {
  for (const key of ['runtime_type', 'runtime_path', 'snapshotter']) {
    const value = table.get(key);
    if (value !== undefined && typeof value !== 'string') return `${key} is not a string`;
  }
  const patterns = table.get('pod_annotations');
  if (patterns !== undefined && texts(patterns) === undefined)
    return 'pod_annotations is not a list of strings';
  const options = table.get('options');
  return options === undefined || options instanceof Map ? undefined : 'options is not a table';
}

function text(value: TomlValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function texts(value: TomlValue | undefined): readonly string[] | undefined {
  const isText = (each: TomlValue) => typeof each === 'string';
  return Array.isArray(value) && value.every(isText) ? value : undefined;
}

/** The runtime of a handler, and where it was seen. */
export type HandlerRuntime = ConfiguredRuntime & {
  /** `loaded` in the running containerd, on `disk`, or `assumed` to be gVisor's because neither has the handler. */
  readonly seen: 'loaded' | 'disk' | 'assumed';
};

/** The runtime of a handler that nobody has configured. */
export const ASSUMED: HandlerRuntime = { ...BARE, runtimeType: 'io.containerd.runsc.v1', seen: 'assumed' };

/** The string option of that name, "" when absent. containerd matches the names of options without regard to case. */
export function optionOf(runtime: Pick<HandlerRuntime, 'options'>, name: string): string {
  const key = Object.keys(runtime.options).find((known) => known.toLowerCase() === name.toLowerCase());
  const value = key === undefined ? undefined : runtime.options[key];
  return typeof value === 'string' ? value : '';
}

/** A handler that containerd would load from disk. `file` and `line` are absent for the built-in "runc". */
export type ConfiguredRuntime = Runtime & { readonly file?: string; readonly line?: number };

/** What a containerd started now would make of the files on disk. */
export type ContainerdConfig = {
  /** Files in the order in which they are merged; none when the root file does not exist. */
  readonly files: readonly string[];
  readonly rules: ConfigRules;
  /** True when the release is not known and the rules are those of the files' own version. */
  readonly rulesAssumed: boolean;
  readonly runtimes: ReadonlyMap<string, ConfiguredRuntime>;
  /** Every place that names a handler and has no effect. */
  readonly ignored: readonly IgnoredMention[];
  /** Why containerd would not start, or would start without its CRI plugin; `runtimes` is then empty. */
  readonly fault?: ConfigFault;
};

/**
 * Reads containerd's configuration as the given release would; `release` is what CRI reports.
 * Throws when a file exists and cannot be read; what containerd itself would refuse is a `fault`, not a throw.
 */
export async function readContainerdConfig(
  host: Host,
  root: string,
  release?: string,
): Promise<ContainerdConfig> {
  const { files, fault } = await readContainerdFiles(host, root);
  const known = release === undefined ? undefined : parseContainerdRelease(release);
  const newest = Math.max(0, ...files.map((file) => file.version));
  const rules = known ? rulesOf(known) : rulesForConfigVersion(newest);
  const unimported = await readUnimported(host, root, files);
  const config = resolveConfig(files, { rules, refusesNewerDropIn: refusesNewerDropIn(known), unimported });
  const found = fault ?? config.fault;
  return { ...config, rulesAssumed: !known, ...(found && { fault: found, runtimes: new Map() }) };
}

/** The pure part of {@link readContainerdConfig}: the tables of `files` are changed by it. */
export function resolveConfig(
  files: readonly ContainerdFile[],
  options: MergeOptions & { readonly unimported?: readonly IgnoredMention[] },
): Omit<ContainerdConfig, 'rulesAssumed'> {
  const { rules } = options;
  const mentions = files.flatMap(mentionsIn);
  const origins = new Map<TomlTable, readonly Mention[]>(
    mentions.map((mention) => [mention.table, [mention]]),
  );
  const merged = mergeFiles(files, {
    ...options,
    onMerge: (to, from) => {
      const both = [...(origins.get(to) ?? []), ...(origins.get(from) ?? [])];
      if (both.length > 0) origins.set(to, both);
    },
  });
  const decoded = decodeRuntimes(merged, rules);
  const used = (runtime: RuntimeTable) => (runtime.table && origins.get(runtime.table)) ?? [];
  const effective = new Set([...decoded.runtimes.values()].flatMap(used));
  const unused = mentions.filter((mention) => !effective.has(mention));
  const ignored = unused.map((mention) => {
    const { handler, file, line } = mention;
    return { handler, file, line, why: whyIgnored(mention, rules, merged.version), isLoaded: true };
  });
  const { path = [], problem } = decoded.wrong ?? {};
  const keys = ['plugins', criSection(rules, merged.version), ...path];
  const file = files.findLast(({ lines }) => lines.has(keys)) ?? files.at(-1);
  const undecoded = problem && file ? { file: file.path, line: file.lines.find(keys), problem } : undefined;
  const fault = merged.fault ?? disabledFault(files, rules) ?? undecoded;
  return {
    files: files.map((file) => file.path),
    rules,
    runtimes: fault
      ? new Map()
      : new Map([...decoded.runtimes].map(([name, runtime]) => [name, configured(runtime, used(runtime))])),
    ignored: [...ignored, ...(options.unimported ?? [])],
    ...(fault && { fault }),
  };
}

function configured({ table: _, ...runtime }: RuntimeTable, from: readonly Mention[]): ConfiguredRuntime {
  // The last file that merged into the table is the one whose words count.
  const source = from.at(-1);
  return source ? { ...runtime, file: source.file, line: source.line } : runtime;
}

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

/** Directories beside the root file in which people put drop-ins: containerd, k3s, RKE2 and k0s. */
const DROP_IN_DIRECTORIES = ['.', 'conf.d', 'config.d', 'containerd.d', 'config.toml.d', 'config-v3.toml.d'];
/** Where people edit although k3s and others read a file elsewhere. */
const USUAL_DIRECTORY = '/etc/containerd';
const MAX_FILES = 50;
/** From which k3s, RKE2 and MicroK8s render the file that containerd reads. */
const TEMPLATE = /(\.tmpl|-template\.toml)$/;

/**
 * Handlers named in drop-ins that lie where drop-ins usually lie and that no file imports.
 * A drop-in that cannot be read is left out: it only would have explained a fault seen elsewhere.
 */
export async function readUnimported(
  host: Host,
  root: string,
  loaded: readonly ContainerdFile[],
): Promise<readonly IgnoredMention[]> {
  const known = new Set([posix.resolve('/', root), ...loaded.map((file) => file.path)]);
  const found: IgnoredMention[] = [];
  const directories = new Set([posix.dirname(root), USUAL_DIRECTORY]);
  const candidates = await Promise.all([...directories].map((directory) => dropIns(host, directory)));
  const others = candidates.flat().filter((candidate) => !known.has(candidate));
  for (const path of others.slice(0, MAX_FILES)) {
    const template = TEMPLATE.test(path);
    const read = template ? readTemplate : readContainerdFile;
    const file = await read(host, path).catch(() => undefined);
    if (!file || 'problem' in file) continue;
    const why = template
      ? 'it is a template, and what was rendered last has nothing of this: restart what renders it (k3s, RKE2, MicroK8s), unless that prefers another template'
      : `no file that containerd loads imports "${path}"`;
    for (const { handler, line } of mentionsIn(file)) {
      found.push({ handler, file: path, line, why, isLoaded: false });
    }
  }
  return found;
}

/** What of a Go or shell template is TOML as it stands, its lines where they were. */
async function readTemplate(host: Host, path: string): Promise<ContainerdFile | undefined> {
  const text = await host.readText(path);
  const plain = text?.replace(/\{\{.*?\}\}|\$\{\w+\}/gs, (word) => word.replace(/[^\n]/g, ''));
  return plain === undefined ? undefined : parseContainerdFile(plain, path);
}

async function dropIns(host: Host, directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of DROP_IN_DIRECTORIES) {
    const path = posix.join(directory, name);
    const names = (await host.list(path).catch(() => undefined)) ?? [];
    // In a directory made for drop-ins, a wrong ending is one reason why a drop-in is not imported.
    const likely = names.filter((file) => name !== '.' || file.endsWith('.toml') || TEMPLATE.test(file));
    found.push(...likely.map((file) => posix.join(path, file)));
  }
  return found;
}
