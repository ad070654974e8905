import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A path of the host lies outside of what is mounted for this process, so that nothing can be said of it. */
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
 * The parts of the host below `root` that this process sees, as host paths; undefined for all of it. In a pod these
 * are the mount points below `root`; a root that is itself a mount, or has none below it, shows the whole host.
 * Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
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

/** Whether a host path is in one of these parts, or on the way to one. */
export function isVisible(path: string, parts: readonly string[] | undefined): boolean {
  if (parts === undefined || path === '/') return true;
  return parts.some((part) => isWithin(path, part) || isWithin(part, path));
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** Mount points carry blanks and backslashes as octal numbers. */
function unescapeMountPoint(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
