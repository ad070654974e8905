import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { html } from '../../../controller/page/html.ts';

describe('html', () => {
  const table: readonly (readonly [name: string, markup: { toString(): string }, text: string])[] = [
    ['escapes text', html`<p>${'<b>&amp;</b>'}</p>`, '<p>&#60;b&#62;&#38;amp;&#60;/b&#62;</p>'],
    ['escapes both quotes', html`<p title="${`"'`}">`, '<p title="&#34;&#39;">'],
    ['does not escape nested html', html`<p>${html`<b>${'<'}</b>`}</p>`, '<p><b>&#60;</b></p>'],
    ['joins lists, and escapes their text', html`${[html`<b>`, '<', [1, undefined]]}`, '<b>&#60;1'],
    ['omits undefined', html`a${undefined}b`, 'ab'],
    ['writes zero', html`${0}`, '0'],
    ['replaces control characters', html`${'a\u001b[31m\u0000b\rc'}`, 'a\ufffd[31m\ufffdb\ufffdc'],
    ['keeps newlines and tabs', html`${'a\n\tb'}`, 'a\n\tb'],
    ['replaces bidi overrides', html`${'a\u202eb\u2066c'}`, 'a\ufffdb\ufffdc'],
    ['replaces half a surrogate pair', html`${'a\ud800'}`, 'a\ufffd'],
  ];
  for (const [name, markup, text] of table) it(name, () => assert.equal(markup.toString(), text));
});
