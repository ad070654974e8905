import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, UsageError } from './run.ts';

/** What Node needs of a system: a C library and that of C++. There is no shell in the image and nothing else to run. */
const PACKAGES = ['base-files', 'libc6', 'libstdc++6'];
const SUITE = 'bookworm';
/** What {@link PACKAGES} are made of, for every architecture: Debian's archive keeps no older versions for long. */
const VERSIONS: Readonly<Record<string, string>> = {
  'base-files': '12.4+deb12u15',
  'gcc-12-base': '12.2.0-14+deb12u1',
  libc6: '2.36-9+deb12u14',
  'libgcc-s1': '12.2.0-14+deb12u1',
  'libstdc++6': '12.2.0-14+deb12u1',
  mawk: '1.3.4.20200120-3.1',
};

/** Files of mmdebstrap that reveal the build machine, or serve a package manager that the image does not have. */
const LEFT_BY_THE_BUILDER = [
  'etc/apt',
  'etc/dpkg',
  'etc/resolv.conf',
  'etc/hostname',
  'var/lib/apt',
  'var/lib/dpkg',
];

/** A Debian package that an image holds. */
export type DebianPackage = {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
};

/** How to build: `architecture` as Debian and OCI name it; `epoch` in seconds, the time of every file. */
export type BaseOptions = { readonly architecture: string; readonly epoch: number };

/**
 * Writes the files of the release's base image to `folder`/base.tar, and gives the packages they come from. Nothing of
 * them is executed, so any machine makes the base of any architecture. Fails where Debian has other versions than are
 * pinned here.
 */
export async function writeBase(
  folder: string,
  { architecture, epoch }: BaseOptions,
): Promise<readonly DebianPackage[]> {
  await mkdir(folder, { recursive: true });
  const list = join(folder, 'packages.txt');
  await writeFile(list, '');
  const left = LEFT_BY_THE_BUILDER.map((path) => `"$1/${path}"`).join(' ');
  const options = [
    ['--variant=extract', '--mode=root', '--quiet', `--architectures=${architecture}`],
    [`--include=${PACKAGES.join(',')}`, '--skip=output/dev'],
    ['--dpkgopt=path-exclude=/usr/share/doc/*', '--dpkgopt=path-include=/usr/share/doc/*/copyright'],
    ['--dpkgopt=path-exclude=/usr/share/locale/*', '--dpkgopt=path-exclude=/usr/share/man/*'],
    ['--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr'],
    [`--extract-hook=ls "$1"/var/cache/apt/archives >'${list}'`, `--customize-hook=rm -rf ${left}`],
  ].flat();
  await run('mmdebstrap', [...options, SUITE, join(folder, 'base.tar')], {
    timeoutMs: 10 * 60_000,
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch), TMPDIR: folder },
  });
  const packages = parsePackages(await readFile(list, 'utf8'));
  requirePinned(packages);
  return packages;
}

/** Fails unless these are the packages that are pinned. */
export function requirePinned(packages: readonly DebianPackage[], pinned = VERSIONS): void {
  const seen = Object.fromEntries(packages.map(({ name, version }) => [name, version]));
  const names = [...new Set([...Object.keys(pinned), ...Object.keys(seen)])];
  const differ = names.filter((name) => seen[name] !== pinned[name]);
  if (differ.length === 0) return;
  const lines = differ.map((name) => `${name}: ${seen[name] ?? 'none'}, not ${pinned[name] ?? 'none'}`);
  throw new UsageError(
    `Debian ${SUITE} has other packages than VERSIONS in hack/release-base.ts pins. Commit these there, then build again:\n${lines.join('\n')}`,
  );
}

/** The packages behind the file names of Debian archives, such as "libc6_2.36-9_arm64.deb", one a line. */
export function parsePackages(names: string): readonly DebianPackage[] {
  return names.split('\n').flatMap((file) => {
    const [, name, version, architecture] = /^([^_]+)_([^_]+)_([^_]+)\.deb$/.exec(file) ?? [];
    if (name === undefined || version === undefined || architecture === undefined) return [];
    return [{ name, version: decodeURIComponent(version), architecture }];
  });
}
