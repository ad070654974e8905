import { MARKS, type Tone, wrap } from '../agent/text/format.ts';
import { paint, type Screen, TONE_COLORS } from './output.ts';

/** What one check came to. `docs` is the page that knows more, as a path in the repository. */
export type CheckLine = {
  readonly section: string;
  readonly tone: Tone;
  readonly text: string;
  readonly docs: string;
};

/** A section's check lines, made with less words. */
export function inSection(section: string) {
  return (tone: Tone, text: string, docs: string): CheckLine => ({ section, tone, text, docs });
}

/** The lines of a section whose object could not be read, in the words of the error. */
export function blindLine(section: string, error: unknown, docs: string): CheckLine {
  return { section, tone: 'unknown', text: error instanceof Error ? error.message : String(error), docs };
}

const LONGEST = 110;

/** Check lines under the names of their sections, each with its page. */
export function checkLines(lines: readonly CheckLine[], screen: Screen): string[] {
  const columns = Math.min(screen.columns, LONGEST);
  return lines.flatMap(({ section, tone, text, docs }, at) => {
    const [first = '', ...rest] = wrap(text, columns - 2);
    const head =
      section === lines[at - 1]?.section ? [] : [...(at === 0 ? [] : ['']), paint(screen, 'bold', section)];
    return [
      ...head,
      `${paint(screen, TONE_COLORS[tone], MARKS[tone][0])} ${first}`,
      ...rest.map((line) => `  ${line}`),
      `  ${paint(screen, 'dim', docs)}`,
    ];
  });
}
