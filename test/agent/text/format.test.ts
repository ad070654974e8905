import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../../agent/finding.ts';
import {
  describeFacts,
  longTime,
  seconds,
  shorten,
  shortIds,
  shortTime,
  toneOf,
  wrap,
} from '../../../agent/text/format.ts';

describe('longTime', () => {
  const table: readonly (readonly [ms: number, text: string])[] = [
    [-5, '0 s'],
    [0, '0 s'],
    [499, '0 s'],
    [1_000, '1 s'],
    [59_400, '59 s'],
    [60_000, '1 min'],
    [135_000, '2 min 15 s'],
    [3_600_000, '1 h'],
    [3_605_000, '1 h'],
    [7_200_000 + 14 * 60_000, '2 h 14 min'],
    [86_400_000 * 3 + 3_600_000 * 4 + 60_000, '3 d 4 h'],
    [86_400_000 * 400, '400 d'],
  ];
  for (const [ms, text] of table) it(`says ${text} for ${ms} ms`, () => assert.equal(longTime(ms), text));
});

describe('shortTime', () => {
  it('counts whole milliseconds below a second', () => assert.equal(shortTime(34.687), '35 ms'));
  it('counts seconds from one second on', () => assert.equal(shortTime(1537), '1.54 s'));
  it('never says 1000 ms', () => assert.equal(shortTime(999.6), '1.00 s'));
  it('gives seconds two digits', () => assert.equal(seconds(836.57), '0.84 s'));
});

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

describe('describeFacts', () => {
  it('orders what it knows, leaves out what is absent and appends the rest', () =>
    assert.deepEqual(describeFacts({ zone: 'b', memoryBytes: '25276502016', kernel: '6.12' }), [
      ['Kernel', '6.12'],
      ['Memory', '23.5 GiB'],
      ['zone', 'b'],
    ]));
  it('shows a size that is no number as it is', () =>
    assert.deepEqual(describeFacts({ memoryBytes: 'much' }), [['Memory', 'much']]));
});

describe('shorten', () => {
  it('keeps a text that fits', () => assert.equal(shorten('abcdef', 6), 'abcdef'));
  it('keeps the beginning and more of the end, where an error names its cause', () => {
    const text = shorten(`failed to start: ${'a'.repeat(500)}: file does not exist`, 60);
    assert.equal(text.length, 60);
    assert.match(text, /^failed to start: a+ … a+: file does not exist$/);
  });
});

describe('shortIds', () => {
  const id = '0123456789ab'.padEnd(64, 'c');
  it('keeps twelve digits of an id, as `crictl ps` does', () =>
    assert.equal(shortIds(`sandbox "${id}" and ${id}`), 'sandbox "0123456789ab" and 0123456789ab'));
  it('keeps what is shorter or longer than an id', () => {
    for (const text of [id.slice(1), `${id}0`, 'no id']) assert.equal(shortIds(text), text);
  });
});

describe('wrap', () => {
  it('breaks text between words alone', () => {
    assert.deepEqual(wrap('one two three', 8), ['one two', 'three']);
    assert.deepEqual(wrap('one two three', 9, '', '  '), ['one two', '  three']);
    assert.deepEqual(wrap('see /usr/local/bin/runsc now', 10), ['see', '/usr/local/bin/runsc', 'now']);
    assert.deepEqual(wrap('all of it', Number.POSITIVE_INFINITY), ['all of it']);
  });

  it('breaks between words, and indents what follows', () =>
    assert.deepEqual(wrap('one two three four', 9, '', '  '), ['one two', '  three', '  four']));
  it('never breaks a word', () => {
    const path = '/a/path/that/is/longer/than/the/line';
    assert.deepEqual(wrap(`see ${path} there`, 12, '', ' '), ['see', ` ${path}`, ' there']);
  });
  it('gives one line of what fits, and of nothing', () => {
    assert.deepEqual(wrap('a  b', 80), ['a b']);
    assert.deepEqual(wrap('', 80, '  '), ['  ']);
  });
});
