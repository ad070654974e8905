import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseToml, TomlFault, tableAt, toPlain } from '../../../agent/containerd/toml.ts';

describe('parseToml', () => {
  const FAULTS: readonly (readonly [string, string, number])[] = [
    ['cut short in a list', 'a = 1\nb = [1,\n', 3],
    ['cut short in a string', 'a = 1\n\nb = "x', 3],
    ['the same table twice', '[a]\n[a]\n', 2],
    ['no TOML', '<html>', 1],
    ['nested without end', `${'a.'.repeat(200)}b = 1`, 1],
    ['brackets without end', `a = ${'['.repeat(100_000)}`, 1],
  ];
  for (const [name, text, line] of FAULTS) {
    it(`names the file and the line of a text that is ${name}`, () => {
      assert.throws(
        () => parseToml(text, '/x.toml'),
        (error) => error instanceof TomlFault && error.file === '/x.toml' && error.line === line,
      );
    });
  }

  it('keeps keys that JavaScript objects have already', () => {
    const table = parseToml('[__proto__]\na = 1\n[constructor]\nb = 2\n', '/x');
    assert.deepEqual([...table.keys()], ['__proto__', 'constructor']);
    assert.equal(tableAt(table, ['toString']), undefined);
  });

  it('keeps integers that a number cannot hold, and dates as text', () => {
    const table = parseToml('a = 9223372036854775807\nb = 1979-05-27\n', '/x');
    assert.equal(table.get('a'), 9223372036854775807n);
    assert.equal(typeof table.get('b'), 'string');
  });

  it('gives plain objects back', () => {
    assert.deepEqual(toPlain(parseToml('a = [1, { b = "x" }]\n', '/x')), { a: [1, { b: 'x' }] });
  });

  it('throws nothing but its own fault, whatever the text is', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '"',
      "'",
      '"""',
      '=',
      'a',
      '.',
      '\n',
      '\\',
      '#',
      '1',
      '{',
      '}',
      ',',
      ' ',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        try {
          parseToml(pieces.join(''), '/x');
        } catch (error) {
          assert.ok(error instanceof TomlFault, String(error));
        }
      }),
    );
  });
});
