import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { errorLine, sanitize } from '../../../lib/base/sanitize.ts';

describe('sanitize', () => {
  it('replaces control characters, except tab and newline, and bidi overrides', () => {
    const deceptive = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/u;
    const wrong = Array.from({ length: 0x110000 }, (_, code) => String.fromCodePoint(code)).filter(
      (text) => text.isWellFormed() && (sanitize(text) !== text) !== deceptive.test(text),
    );
    assert.deepEqual(wrong, []);
  });

  it('replaces half a surrogate pair', () => assert.equal(sanitize('a\ud800b'), 'a\ufffdb'));
});

describe('errorLine', () => {
  it('joins an error and its causes in one line without repetition', async () => {
    const system = await readFile('/no/such/file').catch((error: unknown) => error);
    const cause = new Error('Cannot read host file "/x": ENOENT', { cause: system });
    const error = new Error('Cannot\n  read', { cause });
    assert.equal(errorLine(error), 'Cannot read: Cannot read host file "/x": ENOENT');
  });

  it('accepts any thrown value, and a cyclic chain of causes', () => {
    const cyclic = new Error('cycle');
    cyclic.cause = cyclic;
    assert.equal(errorLine(cyclic), 'cycle');
    assert.equal(errorLine('text'), 'text');
    assert.equal(errorLine(undefined), 'unknown error');
  });
});
