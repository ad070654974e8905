import { styleText } from 'node:util';
import { print } from '../../hack/progress.ts';
import { wrap } from '../../lib/report/format.ts';

const DEFAULT_WIDTH = 100;
const MAX_WIDTH = 120;
const INDENT = '   ';

let acts = 0;

/** Characters of a line: those of the terminal, or what fits in a log. */
export function screenWidth(): number {
  return Math.min(process.stdout.columns ?? DEFAULT_WIDTH, MAX_WIDTH);
}

/** Begins the next act under its number. */
export function title(text: string): void {
  acts += 1;
  const [first = '', ...rest] = wrap(text, screenWidth(), `${acts}. `, INDENT);
  print(`\n${[first, ...rest].map(bold).join('\n')}`);
}

/** Long text continues on further lines. */
export function say(text: string): void {
  for (const line of wrap(text, screenWidth(), INDENT, INDENT)) print(line);
}

/** Throws what did not hold. */
export function expect(held: boolean, what: string): void {
  if (!held) throw new Error(`This did not hold: ${what}`);
  done(what);
}

export function done(what: string): void {
  const [first = '', ...rest] = wrap(what, screenWidth(), `${INDENT}✓ `, `${INDENT}  `);
  print([first.replace('✓', styleText('green', '✓')), ...rest].join('\n'));
}

export function bold(text: string): string {
  return styleText('bold', text);
}

export function secondsSince(begunMs: number): string {
  return `${((performance.now() - begunMs) / 1000).toFixed(1)} s`;
}
