import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';
import { DOMAIN } from '../e2e/agents.ts';

/** A file in `cases/`, whose README.md describes them. */
export function readCases<Value>(name: string): Value {
  const text = readFileSync(join(REPO, 'test/api/cases', `${name}.yaml`), 'utf8');
  return expand(parse(text, { merge: true, maxAliasCount: -1 }) as Value, { DOMAIN });
}

/** Puts a text for `<NAME>`, a thousand keys for `a{1000}:`, and a string of a thousand letters for `m{1000}`. */
export function expand<Value>(value: Value, texts: Readonly<Record<string, string>>): Value {
  const json = Object.entries(texts).reduce(
    (text, [name, by]) => text.replaceAll(`<${name}>`, by),
    JSON.stringify(value),
  );
  return JSON.parse(json, (_, part: unknown) => {
    if (typeof part === 'string') {
      return part.replace(/^(\w)\{(\d+)\}$/, (_, letter: string, count) => letter.repeat(Number(count)));
    }
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(
      Object.entries(part).flatMap(([key, each]) => keysOf(key).map((one) => [one, each])),
    );
  }) as Value;
}

function keysOf(key: string): readonly string[] {
  const [, prefix, count] = /^(.+)\{(\d+)\}$/.exec(key) ?? [];
  return prefix === undefined ? [key] : Array.from({ length: Number(count) }, (_, at) => `${prefix}${at}`);
}
