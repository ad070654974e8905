import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/** What kind of thing a path names. */
export type FileKind = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'device';

/** The first bytes of an open file, at most so many; files under /proc say that they have none. */
export async function readUpTo(file: FileHandle, maxBytes: number): Promise<Buffer> {
  return Buffer.concat(await file.createReadStream({ end: maxBytes - 1, autoClose: false }).toArray());
}

/** Throws for anything but a regular file. */
export function refuseIrregular(stats: Stats): void {
  const kind = kindOf(stats);
  if (kind !== 'file') throw new Error(`it is a ${kind}, not a regular file`);
}

/** Throws for more bytes than that. */
export function refuseLarge(bytes: number, refuseOver: number | undefined): void {
  if (refuseOver !== undefined && bytes > refuseOver) {
    throw new Error(`it is larger than ${refuseOver} bytes`);
  }
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
