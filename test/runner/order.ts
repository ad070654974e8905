import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import type { Seconds } from './history.ts';
import { textsOf } from './programs.ts';

/**
 * Files with clusters of their own come first, so that a lane starts the shared cluster once. Among each, the longest come
 * first, so that no long file begins last.
 */
export function inOrder(files: readonly string[], seconds: Seconds): string[] {
  const shares = new Map(files.map((file) => [file, sharesCluster(file)]));
  return files.toSorted(
    (a, b) => Number(shares.get(a)) - Number(shares.get(b)) || (seconds[b] ?? 0) - (seconds[a] ?? 0),
  );
}

/** Whether a test uses the cluster that the files of a lane share. */
export function sharesCluster(file: string): boolean {
  return [...textsOf([join(REPO, file)])].some(
    ([path, text]) => !path.endsWith('/e2e-cluster.ts') && /\buseCluster\(/.test(text),
  );
}
