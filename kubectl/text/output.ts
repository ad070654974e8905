import { dumpYaml } from '@kubernetes/client-node';
import { MARKS, type Tone, wrap } from '../../lib/report/format.ts';
import { plainLines, type Remark, sectionLines, type Times } from '../../lib/report/remark.ts';
import { markedLines, paint, type Screen, TONE_COLORS } from '../../lib/report/table.ts';
import { PAGES } from './pages.ts';

/** Results go to `out`, messages to `err`. */
export type Output = Screen & {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Absent in a build without a published repository. */
  readonly repository?: string;
};

/** A URL, or the page's path if no repository is published. */
export function pageAddress(page: string, { repository = '' }: Pick<Output, 'repository'>): string {
  return repository === '' ? page : `${repository}/${page}`;
}

/** Without `-o` a command prints a table or text. */
export type Format = 'wide' | 'json' | 'yaml';

export function isForPrograms(format: Format | undefined): format is 'json' | 'yaml' {
  return format === 'json' || format === 'yaml';
}

export function printLines({ out }: Output, lines: readonly string[]): void {
  out(`${lines.join('\n')}\n`);
}

export function printResult(
  output: Output,
  format: Format | undefined,
  data: object,
  lines: readonly string[],
): void {
  if (!isForPrograms(format)) printLines(output, lines);
  else if (format === 'json') output.out(`${JSON.stringify(data, null, 2)}\n`);
  else output.out(dumpYaml(JSON.parse(JSON.stringify(data))));
}

export function printMessage({ width, err }: Output, text: string): void {
  err(`${wrap(text, width).join('\n')}\n`);
}

/** Prose is wrapped to this even without a terminal. */
const MAX_WIDTH = 110;

export function proseOf(output: Output): Output {
  return { ...output, width: Math.min(output.width, MAX_WIDTH) };
}

/** "1 node", "3 nodes". */
export function countOf(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/**
 * As kubectl says it: "45s", "3m12s", "5h", "2d4h"; "" for no time. Source:
 * https://github.com/kubernetes/apimachinery/blob/v0.36.3/pkg/util/duration/duration.go (HumanDuration)
 */
export function ageOf(since: string, nowMs: number): string {
  const at = Date.parse(since);
  if (Number.isNaN(at)) return '';
  const seconds = Math.max(0, Math.floor((nowMs - at) / 1_000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const both = (first: number, unit: string, second: number, other: string) =>
    `${first}${unit}${second === 0 ? '' : `${second}${other}`}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, 'm', seconds % 60, 's');
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return both(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return both(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  return `${Math.floor(days / 365)}y`;
}

export function agesAt(nowMs: number): Times {
  const age = (time: string) => ageOf(time, nowMs) || 'an unknown time';
  return { at: (time) => `${age(time)} ago`, since: (time) => `for ${age(time)}` };
}

/** For people; `reason` and `data` are the same for programs. */
export type Explanation = {
  readonly tone: Tone;
  /** Of a node's verdict, or of a pod's state. */
  readonly reason: string;
  readonly headline: string;
  /** Paragraphs. */
  readonly because: readonly string[];
  readonly seen: readonly Remark[];
  readonly next: readonly string[];
  /** A page of this repository. */
  readonly docs: string;
  /** Counts, names, times and codes, without prose. */
  readonly data: Readonly<Record<string, unknown>>;
};

const OPERATIONS = 'docs/operations.md#when-something-is-wrong';

export function explain(
  [tone, reason]: readonly [tone: Tone, reason: string],
  headline: string,
  rest: Partial<Explanation> = {},
): Explanation {
  return { because: [], seen: [], next: [], data: {}, docs: OPERATIONS, ...rest, tone, reason, headline };
}

const INDENT = '  ';

export function explanationLines(
  { tone, headline, because, seen, next, docs }: Explanation,
  output: Output,
): string[] {
  const screen = proseOf(output);
  const task = tone === 'skipped' ? 'To run gVisor here' : 'What to do';
  return [
    ...plainLines(`${MARKS[tone]} ${headline}`, screen, '', INDENT).map((line) =>
      paint(screen, TONE_COLORS[tone], line),
    ),
    ...sectionLines({ because, seen, next }, screen, task),
    ...(tone === 'pass' ? [] : ['', paint(screen, 'dim', `See ${pageAddress(docs, output)}`)]),
  ];
}

/** `text` is for people, `data` for programs. */
export type CheckLine = {
  readonly id: string;
  readonly section: string;
  readonly tone: Tone;
  readonly text: string;
  /** A page of this repository. */
  readonly docs: string;
  readonly data: Readonly<Record<string, unknown>>;
};

export function inSection(section: string) {
  return (id: keyof typeof PAGES, tone: Tone, text: string, data: CheckLine['data'] = {}): CheckLine => {
    return { id, section, tone, text, docs: PAGES[id], data };
  };
}

/** Of the first code that has one. */
export function pageOf(...codes: readonly string[]): string {
  const known = codes.find((code) => Object.hasOwn(PAGES, code));
  return known === undefined ? OPERATIONS : PAGES[known as keyof typeof PAGES];
}

/** By section; checks that did not pass name a page. */
export function checkLines(lines: readonly CheckLine[], output: Output): string[] {
  const screen = proseOf(output);
  return lines.flatMap(({ section, tone, text, docs }, at) => [
    ...(section === lines[at - 1]?.section
      ? []
      : [...(at === 0 ? [] : ['']), paint(screen, 'bold', section)]),
    ...markedLines(tone, text, screen),
    ...(tone === 'pass' ? [] : [`  ${paint(screen, 'dim', `see ${pageAddress(docs, output)}`)}`]),
  ]);
}
