import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { errorLine, sanitize } from '../../agent/sanitize.ts';

describe('errorLine', () => {
  it('joins an error and its causes on one line without repetition', async () => {
    const system = await readFile('/no/such/file').catch((error: unknown) => error);
    const cause = new Error('Cannot read host file "/x": ENOENT', { cause: system });
    assert.equal(
      errorLine(new Error('Cannot\n  look', { cause })),
      'Cannot look: Cannot read host file "/x": ENOENT',
    );
  });

  it('accepts any thrown value, and a circular chain', () => {
    const circle = new Error('round');
    circle.cause = circle;
    assert.equal(errorLine(circle), 'round');
    assert.equal(errorLine('text'), 'text');
    assert.equal(errorLine(undefined), 'unknown error');
  });
});

describe('sanitize', () => {
  it('replaces control characters and bidi controls, except tab and newline', () => {
    const deceptive = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/u;
    const wrong = Array.from({ length: 0x110000 }, (_, code) => String.fromCodePoint(code)).filter(
      (text) => text.isWellFormed() && (sanitize(text) !== text) !== deceptive.test(text),
    );
    assert.deepEqual(wrong, []);
  });

  it('replaces a lone surrogate', () => assert.equal(sanitize('a\ud800b'), 'a\ufffdb'));
});
