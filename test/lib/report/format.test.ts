import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../../lib/node/checks/finding.ts';
import {
  causeOf,
  Dedupe,
  seconds,
  shortIds,
  toneOf,
  truncateMiddle,
  wrap,
} from '../../../lib/report/format.ts';
import { unproven } from '../../agent/reports.ts';

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

const sandboxError = (digit: string) =>
  `failed to start sandbox "${digit.repeat(64)}": failed to create containerd task: no such file`;

describe('Dedupe', () => {
  it('shows a long text once, also as part of another or with another sandbox id', () => {
    const dedupe = new Dedupe();
    const long = `it is not there; ${sandboxError('a')}`;
    assert.equal(dedupe.once(long), long);
    assert.equal(dedupe.once(sandboxError('a')), 'as said above');
    assert.equal(dedupe.once(sandboxError('b')), 'as said above');
    assert.equal(dedupe.once(`${sandboxError('b')} at all`), `${sandboxError('b')} at all`);
  });

  it('repeats short texts', () => {
    const dedupe = new Dedupe();
    for (const _ of [1, 2]) assert.equal(dedupe.once('no such file'), 'no such file');
  });

  it('covers texts that are shown in parts', () => {
    const dedupe = new Dedupe();
    dedupe.add(`it is not there; ${sandboxError('a')}`);
    assert.equal(dedupe.once(`it is not there; ${sandboxError('b')}`), 'as said above');
  });

  it('does not search for long texts of a compromised node, which would take minutes', () => {
    const dedupe = new Dedupe();
    dedupe.add('a'.repeat(100_000));
    const wanted = `${'a'.repeat(25_000)}b${'a'.repeat(25_000)}`;
    for (let n = 0; n < 100; n++) assert.notEqual(dedupe.once(`${n}${wanted}`), 'as said above');
    assert.equal(dedupe.once('a'.repeat(50_000)), 'as said above');
  });
});

describe('causeOf', () => {
  const proof = (digit: string) => ({ ...unproven('failed', 'ShimNotFound'), message: sandboxError(digit) });
  const verdict = (message: string) => ({ status: 'False', reason: 'ShimNotFound', message }) as const;

  it('omits the error of the proof, also with another sandbox id', () => {
    for (const digit of ['a', 'b'])
      assert.equal(causeOf(verdict(`no shim; ${sandboxError('a')}`), proof(digit)), 'no shim');
  });

  it('is the whole message where there is no other cause', () => {
    assert.equal(causeOf(verdict(sandboxError('a')), proof('a')), sandboxError('a'));
    assert.equal(causeOf(verdict('no shim'), proof('a')), 'no shim');
  });
});
