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
  let found: readonly string[] = ['/'];
  const components = pattern.split('/').filter((part) => part !== '');
  // What stands before the first pattern is taken as it is, and need not be a directory that can be listed.
  const plain = components.findIndex((component) => typeof parsePattern(component) !== 'string');
  if (plain > 0) found = [`/${components.slice(0, plain).join('/')}`];
  for (const [index, component] of components.entries()) {
    if (index < plain) continue;
    const parsed = parsePattern(component);
    if (parsed === undefined) return undefined;
    const isLast = index === components.length - 1;
    const next: string[] = [];
    for (const directory of found) {
      next.push(...(await matchesIn(host, directory, parsed, isLast)));
      if (next.length > MAX_PATHS) {
        throw new Error(`Cannot expand "${pattern}": it matches more than ${MAX_PATHS} paths`);
      }
    }
    found = next;
  }
  return found;
}

async function matchesIn(
  host: Host,
  directory: string,
  pattern: Pattern,
  isLast: boolean,
): Promise<readonly string[]> {
  const names = (await isDirectory(host, directory)) ? ((await host.list(directory)) ?? []) : [];
  const paths = names
    .filter((name) => (typeof pattern === 'string' ? name === pattern : matches(pattern, name)))
    .map((name) => posix.join(directory, name));
  if (isLast) return paths;
  const kept = await Promise.all(paths.map((path) => isDirectory(host, path)));
  return paths.filter((_, index) => kept[index]);
}

async function isDirectory(host: Host, path: string): Promise<boolean> {
  return (await host.stat(path))?.kind === 'directory';
}

/** A plain component stays a string; in another each step is "*" or what one character must match. */
type Pattern = string | readonly (RegExp | '*')[];

function parsePattern(component: string): Pattern | undefined {
  if (!/[*?[\\]/.test(component)) return component;
  const steps = component.match(/\*+|\[\^?(?:\\.|[^\]\\])+\]|\\.|[^[\\]/gsu) ?? [];
  // A bracket or a backslash without its partner is in no step.
  if (steps.join('') !== component) return undefined;
  try {
    return steps.map((step) => (step.startsWith('*') ? '*' : new RegExp(`^${characterOf(step)}$`, 'su')));
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

/** Goes back to the last "*" only, so that no pattern takes longer than its length times the name's. */
function matches(steps: readonly (RegExp | '*')[], name: string): boolean {
  const characters = [...name];
  let at = 0;
  let step = 0;
  let star: { step: number; at: number } | undefined;
  while (at < characters.length) {
    const wanted = steps[step];
    if (wanted === '*') {
      star = { step, at };
      step += 1;
    } else if (wanted?.test(characters[at] ?? '')) {
      step += 1;
      at += 1;
    } else if (star) {
      star = { step: star.step, at: star.at + 1 };
      step = star.step + 1;
      at = star.at;
    } else {
      return false;
    }
  }
  return steps.slice(step).every((rest) => rest === '*');
}
