import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { glob } from '../../../agent/host/glob.ts';
import { tempHost } from './temp-host.ts';

describe('glob', () => {
  const MATCHES: readonly (readonly [string, readonly string[] | undefined])[] = [
    ['/d/*.toml', ['/d/.c.toml', '/d/a.toml', '/d/b.toml', '/d/link.toml']],
    ['/d/?.toml', ['/d/a.toml', '/d/b.toml']],
    ['/d/[a-b].toml*', ['/d/a.toml', '/d/b.toml', '/d/b.toml.bak']],
    ['/d/[^a].toml*', ['/d/b.toml', '/d/b.toml.bak']],
    ['/d/\\a.tom*', ['/d/a.toml']],
    ['/*/a.toml', ['/d/a.toml']],
    ['/[de]/*', ['/d/.c.toml', '/d/a.toml', '/d/b.toml', '/d/b.toml.bak', '/d/link.toml', '/e/x']],
    [`/d/${'*a'.repeat(50)}*`, []],
    [`/f/${'*a'.repeat(50)}b`, []],
    [`/f/${'*a'.repeat(50)}*`, [`/f/${'a'.repeat(250)}`]],
    ['/d/*t*l?b*k', ['/d/b.toml.bak']],
    ['/d/*.*.*', ['/d/.c.toml', '/d/b.toml.bak']],
    ['/d/**.toml', ['/d/.c.toml', '/d/a.toml', '/d/b.toml', '/d/link.toml']],
    ['/nowhere/*.toml', []],
    ['/d/a.toml/*', []],
    ['/d/[a*', undefined],
  ];
  for (const [pattern, paths] of MATCHES) {
    it(`matches ${pattern} as Go does`, async (t) => {
      const host = await tempHost(t, {
        '/d/b.toml': '',
        '/d/a.toml': '',
        '/d/b.toml.bak': '',
        '/d/.c.toml': '',
        '/e/x': '',
        [`/f/${'a'.repeat(250)}`]: '',
        '/d/link.toml': { link: 'gone' },
      });
      assert.deepEqual(await glob(host, pattern), paths);
    });
  }
});
