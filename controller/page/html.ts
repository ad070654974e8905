import { sanitize } from '../../lib/base/sanitize.ts';

/** Safe to send to a browser; only {@link html} makes it. */
export class Markup {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

/** Text is escaped, markup is not, and `undefined` becomes nothing. */
type Part = Markup | string | number | undefined | readonly Part[];

/** Escapes every text, for elements and quoted attributes. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(String.raw({ raw: strings }, ...parts.map(render)));
}

function render(part: Part): string {
  if (part === undefined) return '';
  if (part instanceof Markup) return part.toString();
  if (Array.isArray(part)) return part.map(render).join('');
  return sanitize(String(part)).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
