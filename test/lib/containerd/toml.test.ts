import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseToml, TomlFault, TomlLines, tableAt, toPlain } from '../../../lib/containerd/toml.ts';

describe('parseToml', () => {
  const FAULTS: readonly (readonly [string, string, number])[] = [
    ['an unclosed list', 'a = 1\nb = [1,\n', 3],
    ['an unclosed string', 'a = 1\n\nb = "x', 3],
    ['a duplicate table', '[a]\n[a]\n', 2],
    ['a web page', '<html>', 1],
    ['too many nested tables', `${'a.'.repeat(200)}b = 1`, 1],
    ['too many nested lists', `a = ${'['.repeat(100_000)}`, 1],
  ];
  for (const [name, text, line] of FAULTS) {
    it(`reports file and line of ${name}`, () => {
      assert.throws(
        () => parseToml(text, '/x.toml'),
        (error) => error instanceof TomlFault && error.file === '/x.toml' && error.line === line,
      );
    });
  }

  it('keeps keys that every JavaScript object has', () => {
    const table = parseToml('[__proto__]\na = 1\n[constructor]\nb = 2\n', '/x');
    assert.deepEqual([...table.keys()], ['__proto__', 'constructor']);
    assert.equal(tableAt(table, ['toString']), undefined);
  });

  it('converts tables to plain objects, large integers to bigint and dates to strings', () => {
    const table = parseToml('a = [1, { b = "x" }]\nc = 9223372036854775807\nd = 1979-05-27\n', '/x');
    const { d, ...plain } = toPlain(table) as Record<string, unknown>;
    assert.deepEqual(plain, { a: [1, { b: 'x' }], c: 9223372036854775807n });
    assert.equal(typeof d, 'string');
  });

  it('throws only TomlFault, whatever the text', () => {
    const piece = fc.constantFrom(...'[]"\'=a.\n\\#1{}, ', '"""');
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

const TEXT = `# comment
version = 2
imports = ["a",
  ["x = 1"]
]

[plugins."a.b".runtimes.runsc] # comment
  runtime_type = "x"

[plugins.'a.b'.runtimes]
  kata.runtime_type = 'y'
  inline = { runtime_type = "z" }
[[list]]
[[list]]
`;

describe('TomlLines', () => {
  const LINES: readonly (readonly [path: readonly string[], line: number, has?: false])[] = [
    [['version'], 2],
    [['imports'], 3],
    [['plugins', 'a.b', 'runtimes', 'runsc'], 7],
    [['plugins', 'a.b', 'runtimes', 'runsc', 'runtime_type'], 8],
    [['plugins', 'a.b', 'runtimes', 'kata'], 11],
    [['plugins', 'a.b', 'runtimes', 'inline', 'runtime_type'], 12, false],
    [['list'], 13],
    [['plugins', 'absent'], 7, false],
    [['absent'], 1, false],
  ];
  for (const [path, line, has = true] of LINES) {
    it(`finds ${path.join('.')} in line ${line}`, () => {
      const lines = new TomlLines(TEXT);
      assert.deepEqual([lines.find(path), lines.has(path)], [line, has]);
    });
  }

  it('finds a line within the text, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'[]"\'=.#\n\\a{} ') }), (text) => {
        const line = new TomlLines(text).find(['a']);
        assert.ok(line >= 1 && line <= text.split('\n').length);
      }),
    );
  });

  it('takes little time for a very long line', () => {
    const long = 'a.'.repeat(500_000);
    assert.equal(new TomlLines(`x = """\n${long}\n${long}= 1"""\ny = 1`).find(['y']), 4);
  });
});
