import type { TomlTable, TomlValue } from '../../lib/containerd/toml.ts';

/** Returns the paths of keys whose values differ. */
export function changedKeys(
  before: TomlValue | undefined,
  after: TomlValue | undefined,
  path: readonly string[] = [],
): readonly (readonly string[])[] {
  if (!(before instanceof Map) && !(after instanceof Map))
    return textOf(before) === textOf(after) ? [] : [path];
  const [old, fresh] = [before, after].map((value): TomlTable => (value instanceof Map ? value : new Map()));
  const keys = new Set([...(old?.keys() ?? []), ...(fresh?.keys() ?? [])]);
  return [...keys].flatMap((key) => changedKeys(old?.get(key), fresh?.get(key), [...path, key]));
}

function textOf(value: TomlValue | undefined): string {
  return String(JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)));
}
