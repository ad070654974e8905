import type { CriClient } from '../../lib/containerd/client.ts';
import type { TomlTable, TomlValue } from '../../lib/containerd/toml.ts';
import { isGenerationPath } from '../release/generation.ts';
import { changedKeys } from './difference.ts';

/** The settings of its CRI plugin that containerd runs with. They may have credentials, so no value is ever told. */
export async function readLoaded(client: CriClient): Promise<TomlTable> {
  const request = { verbose: true };
  const { info } = await client.call<{ info: Readonly<Record<string, string>> }>('Status', request);
  return parseLoaded(info.config ?? '');
}

/** Parses into a table whose keys are as in JSON. */
export function parseLoaded(config: string): TomlTable {
  try {
    return tableOf(JSON.parse(config) as object);
  } catch {
    // No cause: its message quotes the document, which may contain credentials.
    throw new Error("containerd's status carries no configuration, or one that is not JSON");
  }
}

/** An absent list or table is null in JSON, and counts as empty. */
function tableOf(parsed: object): TomlTable {
  const toValue = (value: unknown): TomlValue => {
    if (value === null) return '';
    return typeof value === 'object' && !Array.isArray(value) ? tableOf(value) : (value as TomlValue);
  };
  return new Map(Object.entries(parsed).map(([key, value]) => [key, toValue(value)]));
}

/**
 * Settings that containerd would have after a restart and does not have now, without those of the handler and
 * of other handlers of this program. `dump` is its plugin's section as it would be loaded, with keys as in
 * TOML; `loaded` has the same structure with keys as in JSON. A key that only one of them has is a difference
 * where people choose the keys; elsewhere it is a name that the release spells in another way.
 */
export function pendingSettings(loaded: TomlTable, dump: TomlTable, handler: string): readonly string[] {
  const names = new Map<string, string>();
  const [now, next] = [folded(loaded, []), folded(dump, [], names)];
  const isOwn = ([, , name = '']: readonly string[]) =>
    name === fold(handler) ||
    [now, next].every((table) => isOwnOrAbsent(valueAt(table, [...RUNTIMES, name])));
  const isOther = (path: readonly string[]) => {
    if (isBelow(path, RUNTIMES))
      return !isOwn(path) && !(isMadeByContainerd(path) && valueAt(next, path) === undefined);
    if (path.join('.') === DEFAULT_NAME && isSet(valueAt(next, DEPRECATED_DEFAULT))) return false;
    const [before, after] = [valueAt(now, path), valueAt(next, path)];
    if (isBelow(path, ['registry'])) return after !== undefined || !isBelow(path, ['registry', 'configs']);
    return before !== undefined && after !== undefined;
  };
  return changedKeys(now, next)
    .filter(isOther)
    .map((path) => path.map((key) => names.get(key) ?? key).join('.'));
}

const RUNTIMES = ['containerd', 'runtimes'];
/**
 * containerd 1.x makes handlers of its deprecated settings. Source:
 * https://github.com/containerd/containerd/blob/v1.7.34/pkg/cri/config/config.go (ValidatePluginConfig)
 */
const isMadeByContainerd = ([, , name = '']: readonly string[]) => ['default', 'untrusted'].includes(name);
const DEFAULT_NAME = 'containerd.defaultruntimename';
const DEPRECATED_DEFAULT = ['containerd', 'defaultruntime', 'runtimetype'];

const isBelow = (path: readonly string[], above: readonly string[]) =>
  above.every((key, at) => path[at] === key);
const isSet = (value: TomlValue | undefined) => value !== undefined && value !== '';

function isOwnOrAbsent(runtime: TomlValue | undefined): boolean {
  return !(runtime instanceof Map) || isGenerationPath(String(runtime.get('runtimepath')));
}

/** "max_container_log_line_size" in TOML is "maxContainerLogSize" in JSON, and each other key has the same letters. */
const fold = (key: string) =>
  key.replaceAll('_', '').toLowerCase().replace('maxcontainerlogsize', 'maxcontainerloglinesize');

/** With keys of one spelling, and without those that say nothing: containerd's own default, or an empty value. */
function folded(table: TomlTable, path: readonly string[], names?: Map<string, string>): TomlTable {
  const isChosen = [RUNTIMES, ['registry']].some((above) => isBelow(path, above));
  return new Map(
    [...table].flatMap(([name, value]): [string, TomlValue][] => {
      const key = fold(name);
      names?.set(key, name);
      if (value instanceof Map) return [[key, folded(value, [...path, key], names)]];
      if (Array.isArray(value) && value.length === 0) return isChosen ? [] : [[key, '']];
      return isChosen && SAYS_NOTHING.includes(String(value)) ? [] : [[key, value]];
    }),
  );
}

/** An absent value, and that of a handler without "sandboxer" or "sandbox_mode". */
const SAYS_NOTHING: readonly string[] = ['', '0', 'false', 'podsandbox'];

function valueAt(table: TomlTable, path: readonly string[]): TomlValue | undefined {
  let value: TomlValue | undefined = table;
  for (const key of path) value = value instanceof Map ? value.get(key) : undefined;
  return value;
}
