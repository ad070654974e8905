import { MARKS, type Tone, wrap } from '../agent/text/format.ts';
import { paint, type Screen, TONE_COLORS } from './output.ts';

/** One thing that was seen: what it is about, and what was seen. */
export type Observation = {
  readonly tone: Tone;
  readonly about: string;
  readonly text: string;
  /** Where it was seen: lines of files, values. */
  readonly evidence?: readonly string[];
};

/** Why something is as it is, for people and as JSON. */
export type Explanation = {
  readonly tone: Tone;
  readonly headline: string;
  /** Paragraphs. */
  readonly because: readonly string[];
  readonly seen: readonly Observation[];
  /** What to do, one step an entry. */
  readonly next: readonly string[];
  /** The page of the documents that knows more. */
  readonly docs: string;
};

/** The page for what has no page of its own. */
const TROUBLE = 'docs/operations.md#when-something-is-wrong';

/** An explanation of which only what there is must be said. */
export function explain(tone: Tone, headline: string, rest: Partial<Explanation> = {}): Explanation {
  return { because: [], seen: [], next: [], docs: TROUBLE, ...rest, tone, headline };
}

/** The longest line, even without a terminal, because longer lines are hard to read. */
const LONGEST = 110;
const INDENT = '  ';

/** An explanation as lines that fit the screen. */
export function explanationLines(explanation: Explanation, screen: Screen): string[] {
  const { tone, headline, because, seen, next, docs } = explanation;
  const columns = Math.min(screen.columns, LONGEST);
  const color = TONE_COLORS[tone];
  const indented = (text: string, first: string, indent: string) =>
    wrap(text, columns - first.length).map((line, at) => `${at === 0 ? first : indent}${line}`);
  return [
    ...wrap(`${MARKS[tone][0]} ${headline}`, columns, '', INDENT).map((line) => paint(screen, color, line)),
    ...because.flatMap((paragraph) => ['', ...indented(paragraph, INDENT, INDENT)]),
    ...(seen.length === 0 ? [] : ['', paint(screen, 'bold', 'What was seen')]),
    ...seen.flatMap((each) => seenLines(each, columns, screen)),
    ...(next.length === 0 ? [] : ['', paint(screen, 'bold', 'What to do')]),
    ...next.flatMap((step) => indented(step, INDENT, INDENT)),
    '',
    paint(screen, 'dim', `See ${docs}`),
  ];
}

function seenLines(
  { tone, about, text, evidence = [] }: Observation,
  columns: number,
  screen: Screen,
): string[] {
  const [first = '', ...rest] = wrap(`${about}: ${text}`, columns - 4);
  const mark = paint(screen, TONE_COLORS[tone], MARKS[tone][0]);
  return [
    `${INDENT}${mark} ${first}`,
    ...rest.map((line) => `    ${line}`),
    ...evidence.flatMap((line) =>
      wrap(line, columns - 6).map((each) => `      ${paint(screen, 'dim', each)}`),
    ),
  ];
}
