import { parse, TomlError } from 'smol-toml';

/** A TOML table as a Map, so that a key such as "__proto__" is a key like any other. */
export type TomlTable = Map<string, TomlValue>;

/** A TOML value; dates are kept as their text. */
export type TomlValue = string | number | bigint | boolean | TomlTable | readonly TomlValue[];

/** Tables nest no deeper in a configuration that is meant. */
const MAX_DEPTH = 100;

/** A file that is no valid TOML: an answer about the file, not a failure to look. `line` is 1-based. */
export class TomlFault extends Error {
  readonly file: string;
  readonly line: number;

  constructor(file: string, line: number, problem: string) {
    super(`"${file}" line ${line} is not valid TOML: ${problem}`);
    this.file = file;
    this.line = line;
  }
}

/** Parses TOML 1.0, the format of containerd (https://toml.io/en/v1.0.0); throws {@link TomlFault}. */
export function parseToml(text: string, file: string): TomlTable {
  try {
    const options = { integersAsBigInt: 'asNeeded', maxDepth: MAX_DEPTH } as const;
    return toTable(parse(text, options), 0, file);
  } catch (cause) {
    if (cause instanceof TomlError) {
      const [problem = ''] = cause.message.replace('Invalid TOML document: ', '').split('\n');
      throw new TomlFault(file, cause.line, problem);
    }
    throw cause;
  }
}

/** The table at a path of keys, or `undefined` when some key is absent or is no table. */
export function tableAt(table: TomlTable | undefined, path: readonly string[]): TomlTable | undefined {
  let current: TomlValue | undefined = table;
  for (const key of path) {
    if (!(current instanceof Map)) return undefined;
    current = current.get(key);
  }
  return current instanceof Map ? current : undefined;
}

/** A value as the plain objects that JSON would give, for printing and for comparing with what containerd reports. */
export function toPlain(value: TomlValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, toPlain(item)]));
  if (Array.isArray(value)) return value.map(toPlain);
  return value;
}

function toTable(parsed: object, depth: number, file: string): TomlTable {
  if (depth > MAX_DEPTH) throw new TomlFault(file, 1, `it nests more than ${MAX_DEPTH} tables`);
  return new Map(Object.entries(parsed).map(([key, value]) => [key, toValue(value, depth + 1, file)]));
}

function toValue(value: unknown, depth: number, file: string): TomlValue {
  if (Array.isArray(value)) return value.map((item) => toValue(item, depth + 1, file));
  if (value instanceof Date) return String(value);
  if (typeof value === 'object' && value !== null) return toTable(value, depth, file);
  return value as string | number | bigint | boolean;
}
