import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TomlLines } from '../../../agent/containerd/toml.ts';

const TEXT = `# comment
version = 2
imports = ["a",
  ["x = 1"]
]

text = """
[plugins.not-a-table]
"""
[plugins."a.b".runtimes.runsc] # comment
  runtime_type = "x"

[plugins.'a.b'.runtimes]
  kata.runtime_type = 'y'
  inline = { runtime_type = "z" }
[[list]]
`;

describe('TomlLines', () => {
  const FOUND: readonly (readonly [readonly string[], number])[] = [
    [['version'], 2],
    [['imports'], 3],
    [['plugins', 'a.b', 'runtimes', 'runsc'], 10],
    [['plugins', 'a.b', 'runtimes', 'runsc', 'runtime_type'], 11],
    [['plugins', 'a.b', 'runtimes', 'kata'], 14],
    [['plugins', 'a.b', 'runtimes', 'inline', 'runtime_type'], 15],
    [['list'], 16],
    [['plugins', 'not-a-table'], 10],
    [['absent'], 1],
  ];
  for (const [path, line] of FOUND) {
    it(`finds ${path.join('.')} in line ${line}`, () => assert.equal(new TomlLines(TEXT).find(path), line));
  }

  it('knows what the text does not name', () => {
    assert.equal(new TomlLines(TEXT).has(['plugins', 'not-a-table']), false);
    assert.equal(new TomlLines(TEXT).has(['plugins', 'a.b']), true);
  });

  it('ends for any text and stays within it', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'[]"\'=.#\n\\a{} ') }), (text) => {
        const line = new TomlLines(text).find(['a']);
        assert.ok(line >= 1 && line <= text.split('\n').length);
      }),
    );
  });
});
