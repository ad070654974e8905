import { basename, dirname } from 'node:path';
import type { Host } from '../host/host.ts';

/** How a probe's container runs `cat` and `sleep`: folders of the host to mount, and the words of a command. */
export type Programs = {
  readonly mounts: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly readonly: true;
  }[];
  readonly command: (program: 'cat' | 'sleep', ...args: readonly string[]) => string[];
};

/** The programs of an image that has them in its PATH. */
export const IMAGE_PROGRAMS: Programs = {
  mounts: [],
  command: (program, ...args) => [program, ...args],
};

/** Dynamic loaders of glibc and musl by architecture; their folder holds the C library too. */
const LOADERS = [
  '/lib64/ld-linux-x86-64.so.2',
  '/lib/ld-linux-aarch64.so.1',
  '/lib/ld-musl-x86_64.so.1',
  '/lib/ld-musl-aarch64.so.1',
];
const PLACE = '/gvisor-ready';

/**
 * The host's own programs, for an image that holds none, such as a pause image: started through the host's
 * loader and mounted read-only where no image has anything. Undefined where the host lacks them.
 */
export async function hostPrograms(host: Host): Promise<Programs | undefined> {
  const loader = await firstOf(host, LOADERS);
  const cat = await firstOf(host, ['/usr/bin/cat', '/bin/cat']);
  const sleep = await firstOf(host, ['/usr/bin/sleep', '/bin/sleep']);
  if (loader === undefined || cat === undefined || sleep === undefined) return undefined;
  const mount = (name: string, path: string) =>
    ({ containerPath: `${PLACE}/${name}`, hostPath: dirname(path), readonly: true }) as const;
  const start = [`${PLACE}/lib/${basename(loader)}`, '--library-path', `${PLACE}/lib`];
  return {
    mounts: [mount('lib', loader), mount('cat', cat), mount('sleep', sleep)],
    command: (program, ...args) => {
      const path = program === 'cat' ? cat : sleep;
      return [...start, `${PLACE}/${program}/${basename(path)}`, ...args];
    },
  };
}

async function firstOf(host: Host, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const real = await host.realpath(path);
    if (real !== undefined && (await host.stat(real))?.kind === 'file') return real;
  }
  return undefined;
}
