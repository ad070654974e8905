import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../../lib/checks/finding.ts';
import { seconds, shortIds, toneOf, truncateMiddle, wrap } from '../../../lib/report/format.ts';

it('seconds have two decimals', () => assert.equal(seconds(836.57), '0.84 s'));

describe('toneOf', () => {
  const base = { check: 'shim', durationMs: 1, message: '' };
  const fault = { ...base, status: 'fail', reason: 'ShimNotFound' } as const;
  const table: readonly (readonly [finding: Finding, proven: boolean, tone: string])[] = [
    [{ ...base, status: 'pass' }, false, 'pass'],
    [{ ...base, status: 'unknown', reason: 'CheckFailed' }, true, 'unknown'],
    [{ ...fault, severity: 'error' }, false, 'fail'],
    [{ ...fault, severity: 'error' }, true, 'warning'],
    [{ ...fault, severity: 'blocker' }, true, 'fail'],
    [{ ...fault, severity: 'warning' }, false, 'warning'],
  ];
  for (const [finding, proven, tone] of table)
    it(`is ${tone} for ${'severity' in finding ? finding.severity : finding.status}, proven ${proven}`, () =>
      assert.equal(toneOf(finding, proven), tone));
});

describe('truncateMiddle', () => {
  it('keeps a text that fits', () => assert.equal(truncateMiddle('abcdef', 6), 'abcdef'));
  it('keeps the start and more of the end, where an error names its cause', () => {
    const text = truncateMiddle(`failed to start: ${'a'.repeat(500)}: file does not exist`, 60);
    assert.equal(text.length, 60);
    assert.match(text, /^failed to start: a+ … a+: file does not exist$/);
  });
});

describe('shortIds', () => {
  const id = '0123456789ab'.padEnd(64, 'c');
  it('keeps twelve digits of an id, as `crictl ps` does', () =>
    assert.equal(shortIds(`sandbox "${id}" and ${id}`), 'sandbox "0123456789ab" and 0123456789ab'));
  it('keeps digits that are not an id', () => {
    for (const text of [id.slice(1), `${id}0`, 'no id']) assert.equal(shortIds(text), text);
  });
});

describe('wrap', () => {
  const path = '/a/path/that/is/longer/than/the/line';
  for (const [text, width, indent, lines] of [
    ['one two three', 8, '', ['one two', 'three']],
    ['one two three four', 9, '  ', ['one two', '  three', '  four']],
    [`see ${path} there`, 12, ' ', ['see', ` ${path}`, ' there']],
    ['all of it', Number.POSITIVE_INFINITY, '', ['all of it']],
    ['a  b', 80, '', ['a b']],
  ] as const)
    it(`breaks "${text}" only between words, and indents later lines by "${indent}"`, () =>
      assert.deepEqual(wrap(text, width, '', indent), lines));

  it('returns the first indent for an empty text', () => assert.deepEqual(wrap('', 80, '  '), ['  ']));
});
