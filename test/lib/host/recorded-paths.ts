import type { TestContext } from 'node:test';
import type { Host } from '../../../lib/host/host.ts';

/** Records the path of every call to a host. */
export function recordPaths(t: TestContext, host: Host): readonly string[] {
  const paths: string[] = [];
  t.mock.method(host, 'glance', () => host);
  for (const name of ['list', 'stat', 'statEntry', 'readText', 'readTexts', 'readStart'] as const) {
    const usual = host[name].bind(host) as (path: string, ...rest: unknown[]) => Promise<never>;
    t.mock.method(host, name, (path: string, ...rest: unknown[]) => {
      paths.push(path);
      return usual(path, ...rest);
    });
  }
  return paths;
}

/** The distinct processes among paths; "/proc" is the list of all. */
export function processesAmong(paths: readonly string[]): readonly string[] {
  return [...new Set(paths.flatMap((path) => /^\/proc$|^\/proc\/\d+/.exec(path)?.[0] ?? []))].sort();
}
