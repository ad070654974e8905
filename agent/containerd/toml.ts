import { parse, TomlError } from 'smol-toml';

/** One key or table header of a TOML file: its full path of keys and its 1-based line. */
type Named = { readonly path: readonly string[]; readonly line: number };

/** One bare, basic or literal key: https://toml.io/en/v1.0.0#keys */
const KEY = /[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))[ \t]*/y;

/** Finds in which line of a TOML text a table or key is written; the text itself must be valid. */
export class TomlLines {
  /** Lines by path, of what is written as that path. */
  readonly #exact = new Map<string, number>();
  /** Lines by path, of the first thing that is that path or below it. */
  readonly #below = new Map<string, number>();

  constructor(text: string) {
    // Of one path the first line counts: it is set last.
    for (const { path, line } of namedIn(text).reverse()) {
      this.#exact.set(keyOf(path), line);
      for (const index of path.keys()) this.#below.set(keyOf(path.slice(0, index + 1)), line);
    }
  }

  /** Whether the text names `path` or something below it. */
  has(path: readonly string[]): boolean {
    return this.#below.has(keyOf(path));
  }

  /** The line that names `path`, else the first line below it, else that of its nearest named parent; 1 at worst. */
  find(path: readonly string[]): number {
    for (let length = path.length; length > 0; length -= 1) {
      const key = keyOf(path.slice(0, length));
      const line = this.#exact.get(key) ?? this.#below.get(key);
      if (line !== undefined) return line;
    }
    return 1;
  }
}

function keyOf(path: readonly string[]): string {
  return JSON.stringify(path);
}

function namedIn(text: string): Named[] {
  const named: Named[] = [];
  let header: readonly string[] = [];
  let line = 1;
  for (let at = 0; at < text.length; ) {
    const statement = readStatement(text, at);
    if (statement?.isHeader) header = statement.keys;
    if (statement) named.push({ path: statement.isHeader ? header : [...header, ...statement.keys], line });
    const end = endOfStatement(text, at);
    line += text.slice(at, end).split('\n').length - 1;
    at = end;
  }
  return named;
}

function readStatement(text: string, at: number): { keys: string[]; isHeader: boolean } | undefined {
  const opening = /[ \t]*(\[{0,2})/y;
  opening.lastIndex = at;
  const isHeader = opening.exec(text)?.[1] !== '';
  const keys: string[] = [];
  for (let next = opening.lastIndex; ; next = KEY.lastIndex + 1) {
    KEY.lastIndex = next;
    const match = KEY.exec(text);
    if (!match) return undefined;
    keys.push(match[1] !== undefined ? unescapeKey(match[1]) : (match[2] ?? match[3] ?? ''));
    const after = text[KEY.lastIndex];
    if (after === (isHeader ? ']' : '=')) return { keys, isHeader };
    if (after !== '.') return undefined;
  }
}

/** The index just after the line break that ends the statement at `at`: strings and brackets may span lines. */
function endOfStatement(text: string, at: number): number {
  const token = /"""(?:[^\\]|\\.)*?"{3,5}|'''.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[[{\]}\n]/gs;
  token.lastIndex = at;
  let depth = 0;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const [found] = match;
    if (found === '[' || found === '{') depth += 1;
    if (found === ']' || found === '}') depth -= 1;
    if (found === '\n' && depth <= 0) return token.lastIndex;
  }
  return text.length;
}

function unescapeKey(key: string): string {
  try {
    return JSON.parse(`"${key}"`) as string;
  } catch {
    return key;
  }
}

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
