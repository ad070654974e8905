import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/** What kind of thing a path names. */
export type FileKind = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'device';

const CHUNK_BYTES = 64 * 1024;

/** The first bytes of an open file, at most so many. */
export async function readUpTo(file: FileHandle, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  // The size is not asked: files under /proc say 0 and hold something.
  while (total < maxBytes) {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, maxBytes - total));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) break;
    chunks.push(chunk.subarray(0, bytesRead));
    total += bytesRead;
  }
  return Buffer.concat(chunks);
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
