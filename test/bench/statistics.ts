/** Columns of {@link statistics}. */
export const HEAD = ['what', 'goal', 'median', 'p99', 'n'];

/** The smallest value that so large a share does not exceed, 0.5 for the median; undefined without values. */
export function quantile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)];
}

/** A row with statistics of times in milliseconds. */
export function statistics(what: string, goal: string, ms: readonly number[]): string[] {
  const text = (value: number | undefined) => (value === undefined ? '' : `${(value / 1000).toFixed(2)} s`);
  return [what, goal, text(quantile(ms, 0.5)), text(quantile(ms, 0.99)), String(ms.length)];
}

export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
