import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sanitize } from '../../agent/sanitize.ts';

describe('harmless', () => {
  it('takes what Unicode calls a control character or a turn of direction, but for tab and new line', () => {
    const deceptive = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/u;
    const wrong = Array.from({ length: 0x110000 }, (_, code) => String.fromCodePoint(code)).filter(
      (text) => text.isWellFormed() && (sanitize(text) !== text) !== deceptive.test(text),
    );
    assert.deepEqual(wrong, []);
  });

  it('puts a sign in the place of half a character', () => assert.equal(sanitize('a\ud800b'), 'a\ufffdb'));
});
