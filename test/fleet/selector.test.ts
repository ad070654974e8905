import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseSelector } from '../../fleet/server.ts';

describe('a selector of labels', () => {
  const labels = { pool: 'sandboxes', zone: 'a' };
  for (const [selector, matches] of [
    ['pool', true],
    ['!pool', false],
    ['gpu', false],
    ['!gpu', true],
    ['pool=sandboxes', true],
    ['pool==sandboxes', true],
    ['pool=other', false],
    ['pool!=other', true],
    ['gpu!=other', true],
    ['pool!=sandboxes', false],
    ['pool = sandboxes , zone=a', true],
    ['pool=sandboxes,zone=b', false],
  ] as const)
    it(`"${selector}" ${matches ? 'matches' : 'does not match'}`, () => {
      const parsed = parseSelector(selector);
      assert.ok(typeof parsed === 'function');
      assert.equal(parsed(labels), matches);
    });

  for (const selector of ['', ' ', ',', ' , ', ','.repeat(16_000)])
    it(`"${selector.slice(0, 9)}" asks for nothing`, () => assert.equal(parseSelector(selector), undefined));

  it('heeds a term behind any number of commas', () => {
    const parsed = parseSelector(`${','.repeat(2_000)}gpu`);
    assert.ok(typeof parsed === 'function');
    assert.equal(parsed(labels), false);
  });

  it('has at most twenty terms', () => {
    assert.equal(typeof parseSelector(Array(20).fill('a').join()), 'function');
    for (const terms of [21, 8_000])
      assert.equal(parseSelector(Array(terms).fill('a').join()), 'a selector has at most 20 terms');
  });
});
