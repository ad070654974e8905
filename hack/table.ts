import { tableLines } from '../lib/report/table.ts';

/** The first row may hold the heads. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const length = Math.max(0, ...rows.map((row) => row.length));
  const columns = Array.from({ length }, (_, at) => ({
    head: '',
    cell: (row: readonly string[]) => row[at] ?? '',
  }));
  return tableLines(columns, rows, { headers: false }).join('\n');
}
