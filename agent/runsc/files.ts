import { posix } from 'node:path';
import type { HandlerRuntime } from '../containerd/config.ts';
import type { Host } from '../host/host.ts';
import { LateError } from '../host/turns.ts';

/**
 * Where distributions and people put programs; the first ones are what systemd gives a service as its PATH.
 * containerd's own PATH is not known, so what is in none of these may be elsewhere.
 * Sources: https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24PATH, docs/distributions.md
 */
export const FOLDERS: readonly string[] = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
  '/opt/bin',
  '/home/containerd/usr/local/sbin',
  '/var/lib/rancher/k3s/data/current/bin',
  '/var/lib/k0s/bin',
];

/**
 * The program of that absolute path, or the first of that name in the folders, an executable one before any other. Rejects
 * where a disk does not answer.
 */
export async function findProgram(
  host: Host,
  folders: readonly string[],
  name: string,
): Promise<string | undefined> {
  if (name.startsWith('/')) return (await host.stat(name)) && name;
  let present: string | undefined;
  for (const folder of folders) {
    const path = posix.join('/', folder, name);
    // A folder that is not visible, or not readable, holds nothing that could be judged.
    const stat = await host.stat(path).catch((error: unknown) => {
      if (error instanceof LateError) throw error;
    });
    if (!stat || stat.kind === 'directory') continue;
    if ((stat.mode & 0o111) !== 0) return path;
    present ??= path;
  }
  return present;
}

/** Whether a runtime type is runc's: https://github.com/containerd/containerd/tree/main/cmd/containerd-shim-runc-v2 */
export function isRuncType(runtimeType: string): boolean {
  return /^io\.containerd\.(runc\.v\d+|runtime\.v1\.linux)$/.test(runtimeType);
}

/**
 * The path or file name of the shim that containerd looks for, or `undefined` for a type of which it makes none.
 * https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/shim/util.go
 */
export function shimOf({ runtimeType, runtimePath }: Pick<HandlerRuntime, 'runtimeType' | 'runtimePath'>) {
  if (runtimePath !== '') return runtimePath;
  if (runtimeType.startsWith('/')) return runtimeType;
  const parts = runtimeType.split('.');
  if (runtimeType.includes('/') || parts.length < 2 || parts[0] === '') return undefined;
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
}
