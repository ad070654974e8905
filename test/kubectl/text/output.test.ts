import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ageOf } from '../../../kubectl/text/output.ts';

describe('ageOf', () => {
  const NOW = Date.parse('2026-03-01T12:00:00Z');
  const AGES = {
    5: '5s',
    119: '119s',
    192: '3m12s',
    300: '5m',
    1800: '30m',
    11000: '3h3m',
    90000: '25h',
    180000: '2d2h',
    2600000: '30d',
    70000000: '2y',
  };
  for (const [seconds, age] of Object.entries(AGES))
    it(`shows ${seconds} s as ${age}`, () =>
      assert.equal(ageOf(new Date(NOW - Number(seconds) * 1_000).toISOString(), NOW), age));

  it('shows no age of an invalid time, and never a negative one', () => {
    assert.equal(ageOf('', NOW), '');
    assert.equal(ageOf(new Date(NOW + 9_000).toISOString(), NOW), '0s');
  });
});
