import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ageOf, parseTimeout } from '../../kubectl/output.ts';

describe('ageOf and parseTimeout', () => {
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

  const TIMEOUTS = { '5s': 5_000, '1m30s': 90_000, '250ms': 250, '0': 0, '10': 10_000, '1.5h': 5_400_000 };
  for (const [text, ms] of Object.entries(TIMEOUTS))
    it(`parses "${text}" as ${ms} ms`, () => assert.equal(parseTimeout(text), ms));

  for (const text of ['', 'soon', '5x', '-1s'])
    it(`rejects "${text}"`, () => assert.equal(parseTimeout(text), undefined));
});
