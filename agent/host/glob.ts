import { posix } from 'node:path';
import type { Host } from './host.ts';

/**
 * The host paths that match an absolute pattern of Go's filepath.Glob, sorted as it sorts them:
 * "*", "?", "[a-z]" and "\\" within one path component, dot files included. `undefined` for a malformed pattern.
 * https://pkg.go.dev/path/filepath#Match
 */
export async function glob(host: Host, pattern: string): Promise<readonly string[] | undefined> {
  let found = ['/'];
  const components = pattern.split('/').filter((part) => part !== '');
  for (const [index, component] of components.entries()) {
    const matcher = matcherOf(component);
    if (!matcher) return undefined;
    const isLast = index === components.length - 1;
    const next: string[] = [];
    for (const directory of found) next.push(...(await matchesIn(host, directory, matcher, isLast)));
    found = next;
  }
  return found;
}

async function matchesIn(
  host: Host,
  directory: string,
  matcher: string | RegExp,
  isLast: boolean,
): Promise<string[]> {
  if (typeof matcher === 'string') return [posix.join(directory, matcher)];
  const names = (await isDirectory(host, directory)) ? ((await host.list(directory)) ?? []) : [];
  const paths = names.filter((name) => matcher.test(name)).map((name) => posix.join(directory, name));
  if (isLast) return paths;
  const kept = await Promise.all(paths.map((path) => isDirectory(host, path)));
  return paths.filter((_, index) => kept[index]);
}

async function isDirectory(host: Host, path: string): Promise<boolean> {
  return (await host.stat(path))?.kind === 'directory';
}

/** A plain component stays a string; one with meta characters becomes an expression for one name. */
function matcherOf(component: string): string | RegExp | undefined {
  if (!/[*?[\\]/.test(component)) return component;
  const source = component.replace(
    /\*+|\?|\[(\^?)((?:\\.|[^\]\\])+)\]|\\(.)|[.+^${}()|/\]-]|\[|\\/g,
    (found, not: string | undefined, set: string | undefined, escaped: string | undefined) => {
      if (found.startsWith('*')) return '[^/]*';
      if (found === '?') return '[^/]';
      if (set !== undefined) return `[${not ?? ''}${set.replaceAll('^', '\\^').replaceAll('[', '\\[')}]`;
      if (escaped !== undefined) return escaped.replace(/\W/g, '\\$&');
      // An opening bracket or a backslash that is left over has no partner: the expression is refused below.
      return found === '[' || found === '\\' ? '(' : `\\${found}`;
    },
  );
  try {
    return new RegExp(`^${source}$`, 's');
  } catch {
    return undefined;
  }
}
