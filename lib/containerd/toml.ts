import { parse, TomlError } from 'smol-toml';

/** A bare or quoted key: https://toml.io/en/v1.0.0#keys */
const KEY = String.raw`"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+`;
const DOTTED = `(?:${KEY})(?:[ \\t]*\\.[ \\t]*(?:${KEY})){0,99}`;
const NAMED = new RegExp(`^[ \\t]*(?:\\[{1,2}[ \\t]*(${DOTTED})[ \\t]*\\]|(${DOTTED})[ \\t]*=)`);

/**
 * Finds the line that names a table or key. Text inside multi-line values can be mistaken for a name: use it
 * only to point people to a place.
 */
export class TomlLines {
  readonly #lines = new Map<string, number>();

  constructor(text: string) {
    let table: readonly string[] = [];
    for (const [index, line] of text.split('\n').entries()) {
      const [, header, key] = NAMED.exec(line) ?? [];
      if (header !== undefined) table = keysOf(header);
      const path = key === undefined ? table : [...table, ...keysOf(key)];
      for (let length = 1; length <= path.length; length += 1) {
        const name = JSON.stringify(path.slice(0, length));
        if (!this.#lines.has(name)) this.#lines.set(name, index + 1);
      }
    }
  }

  has(path: readonly string[]): boolean {
    return this.#lines.has(JSON.stringify(path));
  }

  /** The first line that names `path` or anything below it, else its nearest parent's, else 1. */
  find(path: readonly string[]): number {
    if (path.length === 0) return 1;
    return this.#lines.get(JSON.stringify(path)) ?? this.find(path.slice(0, -1));
  }
}

function keysOf(dotted: string): readonly string[] {
  return [...dotted.matchAll(new RegExp(KEY, 'g'))].map(([key]) => key.replace(/^(["'])(.*)\1$/, '$2'));
}

/** A Map, so that keys such as "__proto__" are safe. */
export type TomlTable = Map<string, TomlValue>;

/** A TOML value; dates are strings. */
export type TomlValue = string | number | bigint | boolean | TomlTable | readonly TomlValue[];

/** Deeper than any real configuration. */
const MAX_DEPTH = 100;

/** `line` is 1-based. */
export class TomlFault extends Error {
  readonly file: string;
  readonly line: number;

  constructor(file: string, line: number, problem: string) {
    super(`"${file}" line ${line} is not valid TOML: ${problem}`);
    this.file = file;
    this.line = line;
  }
}

/** Parses TOML 1.0 (https://toml.io/en/v1.0.0), which containerd uses; throws {@link TomlFault}. */
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

/** Throws {@link TomlFault} also for a value of another kind. */
export function parseTomlFile(
  text: string,
  file: string,
  kinds: Kinds,
): { tree: TomlTable; lines: TomlLines } {
  const tree = parseToml(text, file);
  const lines = new TomlLines(text);
  const wrong = findWrongKind(tree, kinds);
  if (wrong) throw new TomlFault(file, lines.find([wrong.key]), wrong.problem);
  return { tree, lines };
}

/** Why a program would not start with a file. `line` is 1-based. */
export type ConfigFault = { readonly file: string; readonly line: number; readonly problem: string };

/** For a {@link TomlFault}; throws any other error again. */
export function toFault(cause: unknown): ConfigFault {
  if (!(cause instanceof TomlFault)) throw cause;
  return { file: cause.file, line: cause.line, problem: cause.message };
}

const KINDS = {
  'a string': (value: unknown) => typeof value === 'string',
  'a boolean': (value: unknown) => typeof value === 'boolean',
  'an integer': (value: unknown) => Number.isInteger(value),
  'a table': (value: unknown) => value instanceof Map,
  'a list of strings': (value: unknown) =>
    Array.isArray(value) && value.every((item) => typeof item === 'string'),
};

/** Of the values of some keys, if present. */
export type Kinds = Readonly<Record<string, keyof typeof KINDS>>;

export function findWrongKind(table: TomlTable, kinds: Kinds): { key: string; problem: string } | undefined {
  const wrong = Object.entries(kinds).find(([key, kind]) => table.has(key) && !KINDS[kind](table.get(key)));
  return wrong && { key: wrong[0], problem: `${wrong[0]} is not ${wrong[1]}` };
}

export function tableAt(table: TomlTable | undefined, path: readonly string[]): TomlTable | undefined {
  let current: TomlValue | undefined = table;
  for (const key of path) {
    if (!(current instanceof Map)) return undefined;
    current = current.get(key);
  }
  return current instanceof Map ? current : undefined;
}

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
