import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sanitize, sanitizeValues } from '../../kubectl/output.ts';

const CASES: readonly (readonly [what: string, text: string, expected: string])[] = [
  ['a colour', 'a\u001b[31mred\u001b[0m', 'ared'],
  ['a title of the window', 'a\u001b]0;owned\u0007b', 'ab'],
  ['a line that is written over', 'ready\rnot ready', 'ready not ready'],
  ['several lines', 'one\n\ttwo', 'one two'],
  ['a C1 control', 'a\u009b2Jb', 'ab'],
  ['letters from right to left', 'a\u202etrue\u202c', 'a true '],
  ['what is not seen', 'no\u200bde', 'no de'],
  ['other letters', 'Übung "x" ✓', 'Übung "x" ✓'],
];

describe('plain', () => {
  for (const [what, text, expected] of CASES)
    it(`leaves of ${what} what a terminal may be given`, () => assert.equal(sanitize(text), expected));

  it('reaches every text of a value', () => {
    const value = { a: ['x\u001b[2J', { b: 'y\u0007' }], c: 1, d: null, e: true };
    assert.deepEqual(sanitizeValues(value), { a: ['x', { b: 'y ' }], c: 1, d: null, e: true });
  });
});
