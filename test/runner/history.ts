import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The duration of each file, and the failures of the last run. */
export type History = {
  readonly seconds: Readonly<Record<string, number>>;
  readonly failed: readonly string[];
};

/** The file in `cache` for the work tree `root`. */
export function historyFile(cache: string, root: string): string {
  return join(cache, 'tests', `${createHash('sha256').update(root).digest('hex').slice(0, 12)}.json`);
}

/** Reads a history; an absent or damaged one is empty. */
export function readHistory(file: string): History {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as History;
  } catch {
    return { seconds: {}, failed: [] };
  }
}

/** Updates the durations of the files that ran, and replaces the failures. */
export function writeHistory(file: string, run: History): void {
  const seconds = { ...readHistory(file).seconds, ...run.seconds };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify({ seconds, failed: run.failed }));
}

/** Estimated duration of files with bounded concurrency. */
export function estimateSeconds(
  files: readonly string[],
  concurrency: number,
  { seconds }: Pick<History, 'seconds'>,
): number {
  const known = files.map((file) => seconds[file]).filter((each) => each !== undefined);
  const sum = known.reduce((total, each) => total + each, 0);
  const usual = known.length === 0 ? 5 : sum / known.length;
  const longest = Math.max(0, ...known);
  return Math.max(longest, (sum + usual * (files.length - known.length)) / concurrency);
}

/** Longest first, so that no long file begins last. */
export function longestFirst(files: readonly string[], { seconds }: Pick<History, 'seconds'>): string[] {
  return files.toSorted((a, b) => (seconds[b] ?? 0) - (seconds[a] ?? 0));
}
