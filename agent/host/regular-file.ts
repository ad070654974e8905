import type { Stats } from 'node:fs';

/** What kind of thing a path names. */
export type FileKind = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'device';

/** Throws for anything but a regular file. */
export function refuseIrregular(stats: Stats): void {
  const kind = kindOf(stats);
  if (kind !== 'file') throw new Error(`it is a ${kind}, not a regular file`);
}

/** The kind of what these stats are of. */
export function kindOf(stats: Stats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'link';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return 'device';
}
