import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseArguments } from '../../../agent/start/cli.ts';

const NONE = { once: false, json: false, version: false, help: false };

describe('parseArguments', () => {
  const good: readonly [string, Partial<typeof NONE>][] = [
    ['', {}],
    ['--once --json', { once: true, json: true }],
    ['--help', { help: true }],
  ];
  for (const [argv, expected] of good) {
    it(`accepts "${argv}"`, () =>
      assert.deepEqual({ ...parseArguments(argv.split(' ').filter(Boolean)) }, { ...NONE, ...expected }));
  }

  for (const [argv, why] of [
    ['--loud', /--loud/],
    ['--once=yes', /--once/],
    ['once', /^Unexpected argument 'once'/],
  ] as const) {
    it(`rejects "${argv}"`, () => {
      const result = parseArguments(argv.split(' '));
      assert.ok('problem' in result);
      assert.match(result.problem, why);
    });
  }
});
