import { styleText } from 'node:util';
import { type Tone, wrap } from '../agent/text/format.ts';

/** Where lines go, and what can be shown there. */
export type Screen = {
  /** How many characters fit in a line; Infinity where it is no terminal. */
  readonly columns: number;
  readonly colored: boolean;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
};

/** The colours that are used. */
export type Color = 'green' | 'red' | 'yellow' | 'dim' | 'bold';

/** The colour of each tone. */
export const TONE_COLORS: Readonly<Record<Tone, Color>> = {
  pass: 'green',
  fail: 'red',
  warning: 'yellow',
  unknown: 'yellow',
  skipped: 'dim',
};

/** A text in a colour, where there are any. */
export function paint({ colored }: Pick<Screen, 'colored'>, color: Color | undefined, text: string): string {
  return colored && color !== undefined ? styleText(color, text, { validateStream: false }) : text;
}

/** A text of at most so many characters, cut between two words where it is cut. */
export function cutText(text: string, most: number): string {
  if (text.length <= most) return text;
  const cut = text.slice(0, Math.max(most - 1, 0));
  const space = cut.lastIndexOf(' ');
  return `${(space > most / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}

/** A name of at most so many characters: it keeps both ends, because names differ there. */
export function cutName(name: string, most: number): string {
  if (name.length <= most) return name;
  const tail = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - tail)}…${name.slice(name.length - tail)}`;
}

/** Says something beside the result: on standard error, in lines that fit. */
export function complain({ columns, err }: Screen, text: string): void {
  err(`${wrap(text, columns).join('\n')}\n`);
}
