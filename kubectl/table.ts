import { type Color, cutName, cutText, paint, type Screen } from './screen.ts';

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
        const short = cut ? cutText(cell, widths[at] ?? 0) : cutName(cell, widths[at] ?? 0);
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
