/** Columns of {@link statistics}. */
export const HEAD = ['what', 'goal', 'median', 'p99', 'n'];

/** A row with statistics of times in milliseconds. */
export function statistics(what: string, goal: string, ms: readonly number[]): string[] {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)];
  const text = (value: number | undefined) => (value === undefined ? '' : `${(value / 1000).toFixed(2)} s`);
  return [what, goal, text(at(0.5)), text(at(0.99)), String(sorted.length)];
}

export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
