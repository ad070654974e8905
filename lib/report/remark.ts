import { sanitize } from '../base/sanitize.ts';
import { formatUtc } from '../base/utc.ts';
import { shortIds, type Tone, wrap } from './format.ts';
import { markedLines, paint, type Screen } from './table.ts';

/** One fact with its mark; below it are lines of files, pods or values that show it. */
export type Remark = {
  readonly tone: Tone;
  readonly about: string;
  readonly text: string;
  readonly below?: readonly string[];
};

/** How a reader is told of ISO 8601 times. */
export type Times = {
  /** Such as "3m ago". */
  readonly at: (time: string) => string;
  /** Such as "for 3m". */
  readonly since: (time: string) => string;
};

/** For texts that are read at another time than they are made. */
export const UTC_TIMES: Times = {
  at: (time) => `at ${formatUtc(time)}`,
  since: (time) => `since ${formatUtc(time)}`,
};

/** So many pods or sandboxes of a kind are named, and the rest is counted. */
export const MAX_LISTED = 20;

const INDENT = '  ';

/** Sanitizes a node's words, which nothing else does. */
export function plainLines(text: string, { width }: Screen, first = '', rest = first): readonly string[] {
  return wrap(plain(text), width, first, rest);
}

/** Passed ones are dim, so that the others stand out. */
export function remarkLines({ tone, about, text, below = [] }: Remark, screen: Screen): readonly string[] {
  const style = tone === 'pass' ? 'dim' : undefined;
  return [
    ...markedLines(tone, plain(`${about}: ${text}`), { ...screen, indent: INDENT, style }),
    ...below.flatMap((line) => plainLines(line, screen, INDENT.repeat(3), INDENT.repeat(4))),
  ];
}

type Sections = {
  /** Paragraphs. */
  readonly because: readonly string[];
  readonly seen: readonly Remark[];
  readonly next: readonly string[];
};

/** The body of an explanation, below its headline. */
export function sectionLines(
  { because, seen, next }: Sections,
  screen: Screen,
  task = 'What to do',
): string[] {
  return [
    ...because.flatMap((paragraph) => ['', ...plainLines(paragraph, screen, INDENT)]),
    ...headed(
      'What was seen',
      seen.flatMap((remark) => remarkLines(remark, screen)),
      screen,
    ),
    ...headed(
      task,
      next.flatMap((step) => plainLines(step, screen, INDENT, INDENT.repeat(2))),
      screen,
    ),
  ];
}

/** Nothing without lines. */
export function headed(head: string, lines: readonly string[], screen: Screen): readonly string[] {
  return lines.length === 0 ? [] : ['', paint(screen, 'bold', head), ...lines];
}

function plain(text: string): string {
  return shortIds(sanitize(text));
}
