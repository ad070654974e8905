import type { Seconds } from './history.ts';
import { SHARING } from './tiers.ts';

/**
 * Files that share a cluster come last, so that a lane starts it once. Among each, the longest come first, so that no long
 * file begins last.
 */
export function inOrder(files: readonly string[], seconds: Seconds): string[] {
  return files.toSorted(
    (a, b) => Number(SHARING.has(a)) - Number(SHARING.has(b)) || (seconds[b] ?? 0) - (seconds[a] ?? 0),
  );
}
