import type { Stats } from 'node:fs';
import { lstat, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Absence is a result, not a failure. /proc fails with ESRCH for a process that just ended:
 * https://man7.org/linux/man-pages/man5/proc.5.html
 */
export function isAbsent(cause: unknown): boolean {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH';
}

export type FileKind = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'device';

export function refuseIrregular(stats: Stats): void {
  const kind = kindOf(stats);
  if (kind !== 'file') throw new Error(`it is a ${kind}, not a regular file`);
}

export function kindOf(stats: Stats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'link';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return 'device';
}

/** Linux's limit for one path: https://man7.org/linux/man-pages/man7/path_resolution.7.html */
const MAX_LINKS = 40;

/** "" for a file that is no link, undefined for none. */
export type LinkTarget = (local: string) => Promise<string | undefined>;

/**
 * Absolute links start at `root` and ".." stops there. The host path is resolved up to the first component
 * that does not exist. `onStep` receives each directory on the way and the entry followed in it.
 */
export async function resolvePath(
  root: string,
  path: string,
  linkTarget: LinkTarget,
  onStep?: (directory: string, name: string) => void,
): Promise<{ readonly path: string; readonly exists: boolean }> {
  const pending = parts(path);
  let resolved: string[] = [];
  let links = 0;
  for (let part = pending.shift(); part !== undefined; part = pending.shift()) {
    if (part === '..') {
      resolved = resolved.slice(0, -1);
      continue;
    }
    onStep?.(`/${resolved.join('/')}`, part);
    const target = await linkTarget(join(root, ...resolved, part));
    if (target === undefined) return { path: join('/', ...resolved, part, ...pending), exists: false };
    if (target === '') {
      resolved.push(part);
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw Object.assign(new Error('too many symbolic links'), { code: 'ELOOP' });
    if (target.startsWith('/')) resolved = [];
    pending.unshift(...parts(target));
  }
  return { path: `/${resolved.join('/')}`, exists: true };
}

/** Asks the file system. */
export async function readLinkTarget(local: string): Promise<string | undefined> {
  try {
    const stats = await lstat(local);
    return stats.isSymbolicLink() ? await readlink(local) : '';
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw cause;
  }
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

export class NotVisible extends Error {
  override readonly name = 'NotVisible';

  constructor(path: string, root: string) {
    const top = `/${path.split('/')[1] ?? ''}`;
    super(
      `Cannot see host path "${path}": it is outside of the agent's mounts; mount the host's "${top}" read-only at "${join(root, top)}"`,
    );
  }
}

/**
 * The mount points below `root`; undefined if this process sees the whole host, because the root is itself a
 * mount point or has none below it. Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
 */
export async function visibleParts(
  root: string,
  mountInfo = '/proc/self/mountinfo',
): Promise<readonly string[] | undefined> {
  if (root === '/') return undefined;
  const text = await readFile(mountInfo, 'utf8').catch(() => '');
  const points = text.split('\n').map((line) => unescapeMountPoint(line.split(' ')[4] ?? ''));
  if (points.includes(root)) return undefined;
  const parts = points
    .filter((point) => point.startsWith(`${root}/`))
    .map((point) => point.slice(root.length));
  return parts.length === 0 ? undefined : parts;
}

/** True within a visible path, or for an ancestor of one. */
export function isVisible(path: string, parts: readonly string[] | undefined): boolean {
  if (parts === undefined || path === '/') return true;
  return parts.some((part) => isWithin(path, part) || isWithin(part, path));
}

export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Spaces and backslashes are octal escapes. */
function unescapeMountPoint(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
