import { posix } from 'node:path';
import type { Host } from './host.ts';

const MAX_PATHS = 1000;

/**
 * The host paths that match an absolute pattern of Go's filepath.Glob, sorted as it sorts them:
 * "*", "?", "[a-z]" and "\\" within one path component, dot files included.
 * `undefined` for a malformed pattern; throws for one that matches more than 1000 paths.
 * https://pkg.go.dev/path/filepath#Match
 */
export async function glob(host: Host, pattern: string): Promise<readonly string[] | undefined> {
  const components = pattern.split('/').filter((part) => part !== '');
  const patterns = components.map(parsePattern);
  // What stands before the first pattern is taken as it is, and need not be a directory that can be listed.
  const plain = Math.max(
    0,
    patterns.findIndex((each) => typeof each !== 'string'),
  );
  let found: readonly string[] = [`/${components.slice(0, plain).join('/')}`];
  for (const [index, parsed] of patterns.entries()) {
    if (parsed === undefined) return undefined;
    if (index < plain) continue;
    const next: string[] = [];
    for (const directory of found) {
      next.push(...(await matchesIn(host, directory, parsed, index === patterns.length - 1)));
      if (next.length > MAX_PATHS)
        throw new Error(`Cannot expand "${pattern}": it matches more than ${MAX_PATHS} paths`);
    }
    found = next;
  }
  return found;
}

/** Whether a name without a "/" matches a pattern of Go's path.Match; a malformed pattern matches nothing. */
export function matchesPattern(pattern: string, name: string): boolean {
  const parsed = parsePattern(pattern);
  return typeof parsed === 'string' ? parsed === name : (parsed?.test(name) ?? false);
}

async function matchesIn(
  host: Host,
  directory: string,
  pattern: Pattern,
  isLast: boolean,
): Promise<readonly string[]> {
  const names = (await isDirectory(host, directory)) ? ((await host.list(directory)) ?? []) : [];
  const paths = names
    .filter((name) => (typeof pattern === 'string' ? name === pattern : pattern.test(name)))
    .map((name) => posix.join(directory, name));
  if (isLast) return paths;
  const kept = await Promise.all(paths.map((path) => isDirectory(host, path)));
  return paths.filter((_, index) => kept[index]);
}

async function isDirectory(host: Host, path: string): Promise<boolean> {
  return (await host.stat(path))?.kind === 'directory';
}

/** A plain component stays a string. */
type Pattern = string | RegExp;

function parsePattern(component: string): Pattern | undefined {
  if (!/[*?[\\]/.test(component)) return component;
  const steps = component.match(/\*+|\[\^?(?:\\.|[^\]\\])+\]|\\.|[^[\\]/gsu) ?? [];
  // A bracket or a backslash without its partner is in no step.
  if (steps.join('') !== component) return undefined;
  /** What stands between the stars. */
  const pieces = [''];
  for (const step of steps) {
    if (step.startsWith('*')) pieces.push('');
    else pieces.push(`${pieces.pop()}${characterOf(step)}`);
  }
  const [start = '', ...others] = pieces;
  const end = others.pop();
  // Each piece is taken where it comes first, and never looked for again: no pattern takes long.
  const middle = others.map((piece, index) => `(?=(.*?${piece}))\\${index + 1}`).join('');
  try {
    return new RegExp(`^${start}${middle}${end === undefined ? '' : `.*${end}`}$`, 'su');
  } catch {
    return undefined;
  }
}

function characterOf(step: string): string {
  if (step === '?') return '.';
  const plain = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  if (!step.startsWith('[')) return plain(step.length > 1 ? step.slice(1) : step);
  const not = step[1] === '^' ? '^' : '';
  const set = step.slice(1 + not.length, -1);
  return `[${not}${set.replace(/\\(.)|([[^])/gsu, (_, escaped, meta) => `\\${escaped ?? meta}`)}]`;
}
