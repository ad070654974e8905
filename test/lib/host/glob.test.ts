import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { glob, matchesPattern } from '../../../lib/host/glob.ts';
import { tempHost } from './temp-host.ts';

const FILES = {
  '/d/b.toml': '',
  '/d/a.toml': '',
  '/d/b.toml.bak': '',
  '/d/.c.toml': '',
  '/e/x': '',
  '/d/link.toml': { link: 'gone' },
};

describe('glob', () => {
  const MATCHES: readonly (readonly [string, readonly string[]])[] = [
    ['/d/*.toml', ['/d/.c.toml', '/d/a.toml', '/d/b.toml', '/d/link.toml']],
    ['/*/a.toml', ['/d/a.toml']],
    ['/*/*', ['/d/.c.toml', '/d/a.toml', '/d/b.toml', '/d/b.toml.bak', '/d/link.toml', '/e/x']],
    ['/nowhere/*.toml', []],
    ['/d/a.toml/*', []],
    ['/e/x', ['/e/x']],
  ];
  for (const [pattern, paths] of MATCHES)
    it(`expands ${pattern} as Go does`, async (t) => {
      assert.deepEqual(await glob(await tempHost(t, FILES), pattern), paths);
    });

  it("refuses Go's other wildcards, and more than 1000 paths", async (t) => {
    const many = Object.fromEntries(Array.from({ length: 1001 }, (_, n) => [`/m/${n}`, '']));
    const host = await tempHost(t, many);
    const refusal = /^Error: Cannot expand ".*": "\*" is the only wildcard supported$/;
    for (const pattern of ['/d/[ab]*', '/d/?*', '/d/\\a*'])
      await assert.rejects(glob(host, pattern), refusal);
    await assert.rejects(glob(host, '/m/*'), /it matches more than 1000 paths/);
    assert.equal((await glob(host, '/m/1*')).length, 112);
  });
});

describe('matchesPattern', () => {
  for (const [pattern, name, expected] of [
    ['a.toml', 'a.toml', true],
    ['a.toml', 'a.tomlx', false],
    ['*', '', true],
    ['a*c', 'abc', true],
    ['a*c', 'abcd', false],
    ['a*c', 'xabc', false],
    ['ab*ba', 'aba', false],
    ['*t*l*b*k', 'b.toml.bak', true],
    ['*t*t*t*', 'b.toml', false],
    ['**.toml', '.toml', true],
    ['a?c', 'abc', true],
    ['[f-i]lag', 'flag', true],
    ['f\\lag', 'flag', true],
    ['f[^\\]]ag', 'flag', true],
    ['[', 'a', false],
  ] as const)
    it(`${pattern} ${expected ? 'matches' : 'does not match'} "${name}"`, () =>
      assert.equal(matchesPattern(pattern, name), expected));

  it('is quick on a pattern that would make a regular expression backtrack', () => {
    assert.equal(matchesPattern(`${'*a'.repeat(50)}b`, 'a'.repeat(250)), false);
    assert.equal(matchesPattern(`${'*a'.repeat(50)}*`, 'a'.repeat(250)), true);
  });
});
