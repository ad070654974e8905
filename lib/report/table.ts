import { styleText } from 'node:util';
import { MARKS, type Tone, wrap } from './format.ts';

/** How many characters fit in a line; Infinity off a terminal. */
export type Screen = { readonly colored: boolean; readonly width: number };

/** Such as "green" or ["green", "bold"]. */
export type Style = Parameters<typeof styleText>[0];

export const TONE_COLORS = {
  pass: 'green',
  fail: 'red',
  warning: 'yellow',
  unknown: 'yellow',
  skipped: 'gray',
} as const satisfies Readonly<Record<Tone, Style>>;

export function paint({ colored }: Pick<Screen, 'colored'>, style: Style | undefined, text: string): string {
  return colored && style !== undefined ? styleText(style, text, { validateStream: false }) : text;
}

/** Puts the coloured mark of its tone and a label before it; further lines are aligned. */
export function markedLines(
  tone: Tone,
  text: string,
  {
    indent = '',
    label = '',
    style,
    ...screen
  }: Screen & { readonly indent?: string; readonly label?: string; readonly style?: Style | undefined },
): string[] {
  const symbol = MARKS[tone];
  const lead = `${indent}${symbol} `;
  const [first = '', ...rest] = wrap(
    text,
    screen.width,
    lead + label,
    ' '.repeat(lead.length + label.length),
  );
  const styled = (line: string) => paint(screen, style, line);
  const mark = paint(screen, TONE_COLORS[tone], symbol);
  return [`${indent}${mark} ${styled(first.slice(lead.length))}`, ...rest.map(styled)];
}

/** Cuts between two words if it can. */
export function truncateText(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  const head = text.slice(0, Math.max(maxLength - 1, 0));
  const space = head.lastIndexOf(' ');
  return `${(space > maxLength / 2 ? head.slice(0, space) : head).trimEnd()}…`;
}

export type Column<Row> = {
  readonly head: string;
  readonly cell: (row: Row) => string;
  readonly color?: (row: Row) => Style | undefined;
  /** Shown only in a wide table. */
  readonly wide?: true;
  /** Truncated at its end before anything else gives way. */
  readonly prose?: true;
  /** Dropped if the screen is too narrow, the highest number first. */
  readonly spare?: number;
};

/** Without a screen in plain text of any width. */
type TableOptions = {
  readonly screen?: Screen;
  readonly wide?: boolean;
  readonly headers?: boolean;
};

const PLAIN: Screen = { colored: false, width: Number.POSITIVE_INFINITY };
const GAP = 3;
/** Prose is truncated so far before columns are dropped. */
const MIN_PROSE = 16;

/**
 * Within the width of the screen, unless names are longer: these are whole, so that they can be copied, and the
 * longest ones come last, so that the other columns stay aligned.
 */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { screen = PLAIN, wide = false, headers = true }: TableOptions = {},
): string[] {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const { kept, widths } = fit(shown, rows, { width: screen.width, headers });
  const line = (cells: readonly string[], colorOf: (column: Column<Row> | undefined) => Style | undefined) =>
    cells
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        const short = truncateText(cell, width);
        return paint(screen, colorOf(kept[at]), at === cells.length - 1 ? short : short.padEnd(width));
      })
      .join(' '.repeat(GAP))
      .trimEnd();
  const body = rows.map((row) =>
    line(
      kept.map(({ cell }) => cell(row)),
      (column) => column?.color?.(row),
    ),
  );
  if (!headers) return body;
  const heads = kept.map(({ head }) => head);
  return [line(heads, () => undefined), ...body];
}

/** Truncates prose, then drops spare columns. */
function fit<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { width, headers }: { readonly width: number; readonly headers: boolean },
) {
  let kept = [...columns];
  for (;;) {
    const widths = kept.map(({ head, cell }) =>
      rows.reduce((max, row) => Math.max(max, cell(row).length), headers ? head.length : 0),
    );
    const excess = () => widths.reduce((sum, each) => sum + each + GAP, -GAP) - width;
    for (const [at, { prose, head }] of kept.entries()) {
      const full = widths[at] ?? 0;
      if (prose && excess() > 0)
        widths[at] = Math.max(full - excess(), Math.min(full, MIN_PROSE), head.length);
    }
    const spare = kept.reduce((max, column) => Math.max(max, column.spare ?? 0), 0);
    if (excess() <= 0) return { kept, widths };
    if (spare === 0) return longestLast(kept, widths);
    kept = kept.filter((column) => column.spare !== spare);
  }
}

function longestLast<Row>(columns: readonly Column<Row>[], widths: readonly number[]) {
  const longest = widths.indexOf(Math.max(...widths));
  const order = [...columns.keys()].sort((a, b) => Number(a === longest) - Number(b === longest));
  return {
    kept: order.flatMap((at) => columns[at] ?? []),
    widths: order.map((at) => widths[at] ?? 0),
  };
}
