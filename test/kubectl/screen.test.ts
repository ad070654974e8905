import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { named } from '../../kubectl/known.ts';
import { ageOf, parseTimeout, truncateName, truncateText } from '../../kubectl/output.ts';

describe('what fits a screen', () => {
  it('cuts a text between two words, and a name in its middle', () => {
    assert.equal(truncateText('no shim is there', 12), 'no shim is…');
    assert.equal(truncateText('fits', 4), 'fits');
    assert.equal(truncateName('web-7dfb9965f8-hgttf', 11), 'web-7…hgttf');
    assert.equal(truncateName('short', 5), 'short');
  });

  it('names a few, and says how many more there are', () => {
    assert.equal(named(['a', 'b', 'c', 'd']), 'a, b, c, d');
    assert.equal(named(['a', 'b', 'c', 'd', 'e']), 'a, b, c and 2 more');
  });
});

describe('times', () => {
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
    it(`${seconds} seconds are ${age}`, () =>
      assert.equal(ageOf(new Date(NOW - Number(seconds) * 1_000).toISOString(), NOW), age));

  it('of no time there is none, and a clock that is behind gives none below zero', () => {
    assert.equal(ageOf('', NOW), '');
    assert.equal(ageOf(new Date(NOW + 9_000).toISOString(), NOW), '0s');
  });

  const TIMEOUTS = { '5s': 5_000, '1m30s': 90_000, '250ms': 250, '0': 0, '10': 10_000, '1.5h': 5_400_000 };
  for (const [text, ms] of Object.entries(TIMEOUTS))
    it(`--request-timeout=${text} is ${ms} ms`, () => assert.equal(parseTimeout(text), ms));

  for (const text of ['', 'soon', '5x', '-1s'])
    it(`--request-timeout="${text}" is none`, () => assert.equal(parseTimeout(text), undefined));
});
