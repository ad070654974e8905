import { stripVTControlCharacters, styleText } from 'node:util';
import { dumpYaml } from '@kubernetes/client-node';
import { type Tone, wrap } from '../agent/text/format.ts';

/** Control characters, and those that are not seen or turn the order of the others around. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

/** A text without what a terminal would obey: escape sequences, control and bidirectional characters. */
export function sanitize(text: string): string {
  return stripVTControlCharacters(text).replace(UNSEEN, ' ');
}

/**
 * The same for every text in a value that was parsed from JSON, in place. Many people, and pods, write the API
 * server's data, so none of it reaches a terminal unescaped.
 */
export function sanitizeValues<T>(value: T): T {
  if (typeof value === 'string') return sanitize(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Record<string, unknown>;
  for (const [key, each] of Object.entries(object)) {
    if (typeof each === 'string' || typeof each === 'object') object[key] = sanitizeValues(each);
  }
  return value;
}

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
export function truncateText(text: string, most: number): string {
  if (text.length <= most) return text;
  const cut = text.slice(0, Math.max(most - 1, 0));
  const space = cut.lastIndexOf(' ');
  return `${(space > most / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}

/** A name of at most so many characters: it keeps both ends, because names differ there. */
export function truncateName(name: string, most: number): string {
  if (name.length <= most) return name;
  const tail = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - tail)}…${name.slice(name.length - tail)}`;
}

/** Says something beside the result: on standard error, in lines that fit. */
export function printProblem({ columns, err }: Screen, text: string): void {
  err(`${wrap(text, columns).join('\n')}\n`);
}

/**
 * How long ago something was, as kubectl says it: "45s", "3m12s", "5h", "2d4h". "" for no time.
 * Source: https://github.com/kubernetes/apimachinery/blob/v0.36.3/pkg/util/duration/duration.go (HumanDuration)
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

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * kubectl's --request-timeout in milliseconds: "30s", "1m30s", or seconds without a unit; 0 is as long as it takes.
 * Source: https://kubernetes.io/docs/reference/kubectl/kubectl/
 */
export function parseTimeout(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  return Math.round(
    parts.reduce((sum, [, number, unit = '']) => sum + Number(number) * (UNITS[unit] ?? 0), 0),
  );
}

/** How results are shown; a table or text unless told. */
export type Format = 'wide' | 'json' | 'yaml';

/** A value as JSON or YAML for programs. */
export function serialize(value: unknown, format: 'json' | 'yaml'): string {
  const text = JSON.stringify(value, null, 2);
  return format === 'json' ? `${text}\n` : dumpYaml(JSON.parse(text));
}

/** Whether a format is for programs. */
export function isForPrograms(format: Format | undefined): format is 'json' | 'yaml' {
  return format === 'json' || format === 'yaml';
}

/** A column of a table. The first is the name, which is cut last of all. */
export type Column<T> = {
  readonly head: string;
  readonly cell: (row: T) => string;
  readonly color?: (row: T) => Color | undefined;
  /** Only with -o wide. */
  readonly wide?: true;
  /** A text that may be cut at its end. */
  readonly cut?: true;
  /** Left out where the terminal is too narrow; the highest number goes first. */
  readonly spare?: number;
};

/** How a table is shown. */
export type TableOptions<T> = {
  readonly screen: Screen;
  readonly wide?: boolean;
  readonly headers?: boolean;
  /** Rows that were shown before, below which these are to be aligned. */
  readonly before?: readonly T[];
};

const GAP = 3;
/** What a text is cut to at most, before whole columns are left out. */
const SHORTEST_TEXT = 16;

/** Rows as aligned lines, as kubectl shows them, that fit the screen. */
export function tableLines<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  { screen, wide = false, headers = true, before = [] }: TableOptions<T>,
): string[] {
  const asked = columns.filter((column) => wide || column.wide !== true);
  const { kept, widths } = fit(asked, [...before, ...rows], { width: screen.columns, headers });
  const line = (cells: readonly string[], color: (at: number) => Color | undefined) =>
    cells
      .map((cell, at) => {
        const last = at === cells.length - 1;
        const { cut = false } = kept[at] ?? {};
        const short = cut ? truncateText(cell, widths[at] ?? 0) : truncateName(cell, widths[at] ?? 0);
        return paint(screen, color(at), last ? short : short.padEnd(widths[at] ?? 0));
      })
      .join(' '.repeat(GAP))
      .trimEnd();
  const head = line(
    kept.map(({ head }) => head),
    () => undefined,
  );
  const body = rows.map((row) =>
    line(
      kept.map(({ cell }) => cell(row)),
      (at) => kept[at]?.color?.(row),
    ),
  );
  return headers ? [head, ...body] : body;
}

/** Leaves out and cuts what does not fit: texts first, then spare columns, then names. */
function fit<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  { width, headers }: { readonly width: number; readonly headers: boolean },
) {
  let kept = [...columns];
  for (;;) {
    const widths = kept.map(({ head, cell }) =>
      rows.reduce((most, row) => Math.max(most, cell(row).length), headers ? head.length : 0),
    );
    const over = () => widths.reduce((sum, each) => sum + each + GAP, -GAP) - width;
    for (const [at, { cut, head }] of kept.entries()) {
      const full = widths[at] ?? 0;
      if (cut && over() > 0) widths[at] = Math.max(full - over(), Math.min(full, SHORTEST_TEXT), head.length);
    }
    if (over() <= 0) return { kept, widths };
    const spare = kept.reduce((most, { spare = 0 }) => Math.max(most, spare), 0);
    if (spare === 0) return { kept, widths: shortenNames(widths, over()) };
    kept = kept.filter((column) => column.spare !== spare);
  }
}

/** Takes what is too much from the widest columns. */
function shortenNames(widths: readonly number[], over: number): number[] {
  const short = [...widths];
  for (let left = over; left > 0; left--) {
    const widest = short.indexOf(Math.max(...short));
    if ((short[widest] ?? 0) <= 8) break;
    short[widest] = (short[widest] ?? 0) - 1;
  }
  return short;
}
