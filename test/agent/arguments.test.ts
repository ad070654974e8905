import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseArguments } from '../../agent/text/cli.ts';

const NONE = { once: false, json: false, version: false, help: false };

describe('parseArguments', () => {
  const good: readonly [string, Partial<typeof NONE>][] = [
    ['', {}],
    ['--once --json', { once: true, json: true }],
    ['--help', { help: true }],
  ];
  for (const [words, expected] of good) {
    it(`takes "${words}"`, () =>
      assert.deepEqual({ ...parseArguments(words.split(' ').filter(Boolean)) }, { ...NONE, ...expected }));
  }

  for (const [words, why] of [
    ['--loud', /--loud/],
    ['--once=yes', /--once/],
    ['once', /^Unexpected argument 'once'/],
  ] as const) {
    it(`refuses "${words}"`, () => {
      const answer = parseArguments(words.split(' '));
      assert.ok('problem' in answer);
      assert.match(answer.problem, why);
    });
  }
});
