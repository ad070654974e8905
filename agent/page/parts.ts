import type { Reason } from '../reasons.ts';
import { inWords, MARKS, type Tone } from '../text/format.ts';
import { html, type Markup } from './html.ts';

/** A symbol and a word; the symbol is not read aloud. */
export function mark(tone: Tone, word: string = MARKS[tone][1]): Markup {
  return html`<span class="mark ${tone}"><span aria-hidden="true">${MARKS[tone][0]}</span> ${word}</span>`;
}

/** An instant for people, in UTC to the second, and for machines. */
export function instant(at: string): Markup {
  return html`<time datetime="${at}">${inWords(at)}</time>`;
}

/** An instant, and how long ago that is, which the page's script says. */
export function since(at: string): Markup {
  return html`${instant(at)}<span class="age" data-since="${at}"></span>`;
}

/** A reason code, linked to its meaning; the id keeps the focus on it when the page is updated. */
export function reasonLink(reason: Reason, id: string): Markup {
  return html`<a class="reason" id="${id}" href="./reasons#${reason}"><code>${reason}</code></a>`;
}
