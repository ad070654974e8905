import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { html } from '../../../fleet/page/html.ts';

describe('html', () => {
  const table: readonly (readonly [name: string, made: { toString(): string }, text: string])[] = [
    ['escapes text', html`<p>${'<b>&amp;</b>'}</p>`, '<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>'],
    ['escapes both quotes', html`<p title="${`"'`}">`, '<p title="&quot;&#39;">'],
    ['does not escape what it made itself', html`<p>${html`<b>${'<'}</b>`}</p>`, '<p><b>&lt;</b></p>'],
    ['joins lists, of text too', html`${[html`<b>`, '<', [1, undefined]]}`, '<b>&lt;1'],
    ['leaves nothing behind for nothing', html`a${undefined}b`, 'ab'],
    ['writes zero', html`${0}`, '0'],
    ['shows control characters as such', html`${'a\u001b[31m\u0000b\rc'}`, 'a\ufffd[31m\ufffdb\ufffdc'],
    ['keeps lines and tabs', html`${'a\n\tb'}`, 'a\n\tb'],
    ['does not let a text turn the direction', html`${'a\u202eb\u2066c'}`, 'a\ufffdb\ufffdc'],
    ['repairs half a character', html`${'a\ud800'}`, 'a\ufffd'],
  ];
  for (const [name, made, text] of table) it(name, () => assert.equal(made.toString(), text));
});
