import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isAbsent } from './absent.ts';

/** Linux gives up after 40 links in one path: https://man7.org/linux/man-pages/man7/path_resolution.7.html */
const MAX_LINKS = 40;

/**
 * Resolves every symbolic link of a host path inside `root`: an absolute link starts again at the root
 * and ".." stops there. Returns the host path; when some part of it does not exist, the path as far as links lead.
 * `onStep` hears each folder on the way, itself resolved, and the name in it that leads on.
 */
export async function resolvePath(
  root: string,
  path: string,
  onStep?: (folder: string, name: string) => void,
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

/** The target of a link, "" for what is no link, `undefined` for what does not exist. */
async function linkTarget(local: string): Promise<string | undefined> {
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
