import type { Runtime } from '../cri/cri.ts';
import type { ConfigFault, ContainerdFile } from './files.ts';
import { LEGACY_NAMES } from './handler-mentions.ts';
import { CRI_V1, CRI_V2, CRI_V3, criSection, type Merged } from './merge.ts';
import type { ConfigRules } from './release.ts';
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
