import { posix } from 'node:path';
import type { Host } from './host.ts';

const MAX_PATHS = 1000;
/** Wildcards of Go's path.Match: https://pkg.go.dev/path#Match */
const WILDCARDS = /(?:\*|\?|\[(?:\\.|[^\]\\])*\]|\\.)+/;

/**
 * In the order of Go's filepath.Glob. Its only wildcard is "*", within one component, dot files included.
 * Throws for Go's other wildcards, and for more than 1000 paths.
 */
export async function glob(host: Host, pattern: string): Promise<readonly string[]> {
  if (/[?[\\]/.test(pattern))
    throw new Error(`Cannot expand "${pattern}": "*" is the only wildcard supported`);
  let paths: readonly string[] = ['/'];
  for (const component of pattern.split('/').filter((part) => part !== '')) {
    const next: string[] = [];
    for (const directory of paths) {
      const entries = component.includes('*') ? ((await host.list(directory)) ?? []) : [component];
      const matching = entries.filter((name) => matchesPattern(component, name));
      next.push(...matching.map((name) => posix.join(directory, name)));
      if (next.length > MAX_PATHS)
        throw new Error(`Cannot expand "${pattern}": it matches more than ${MAX_PATHS} paths`);
    }
    paths = next;
  }
  const exist = await Promise.all(paths.map(async (path) => (await host.statEntry(path)) !== undefined));
  return paths.filter((_, index) => exist[index]);
}

/**
 * Go's path.Match for a name without "/". "?", classes and escapes count as "*", so that a rare pattern
 * matches too much.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  const [start = '', ...rest] = pattern.split(WILDCARDS);
  const end = rest.pop();
  if (end === undefined) return pattern === name;
  let at = name.startsWith(start) ? start.length : -1;
  for (const piece of rest) {
    if (at < 0) return false;
    const found = name.indexOf(piece, at);
    at = found < 0 ? -1 : found + piece.length;
  }
  return at >= 0 && name.length - end.length >= at && name.endsWith(end);
}
