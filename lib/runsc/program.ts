import { posix } from 'node:path';
import { TimeoutError } from '../base/async.ts';
import type { HandlerRuntime } from '../containerd/config.ts';
import type { Host } from '../host/host.ts';
import { PAGE_BYTES, textSegments } from '../host/program.ts';
import { DEFAULT_RUNSC_CONFIG, readRunscConfig } from './config.ts';

/** Comparable with others, or `unknown` for any other text. */
export type RunscRelease =
  | { readonly kind: 'release'; readonly date: number; readonly point: number; readonly text: string }
  | { readonly kind: 'unknown'; readonly text: string };

/**
 * `release-20260817.0`, also with `-70-g3c5eee17dc45` or `-dirty`, Google's `google-20260817.0`, Debian's
 * `0.0~20240729.0`, or a bare `20220516.0`. `VERSION_MISSING`, from a plain `go build`, is unknown.
 * https://github.com/google/gvisor/blob/master/runsc/config/config.go
 */
export function parseRunscRelease(text: string): RunscRelease {
  const trimmed = text.trim();
  const match =
    /^(?:release-|g[a-z]*-|0\.0~|v)?(\d{8})(?:\.(\d{1,6}))?(?:-\d+-g[0-9a-f]+)?(?:[-+~][0-9A-Za-z.+~-]*)?$/.exec(
      trimmed,
    );
  const [, date = '', point = '0'] = match ?? [];
  const isDate = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3')) >= Date.UTC(2018);
  if (!isDate) return { kind: 'unknown', text: trimmed };
  return { kind: 'release', date: Number(date), point: Number(point), text: trimmed };
}

/** Negative if `a` is older, positive if newer; `undefined` if either is unknown. */
export function compareReleases(a: RunscRelease, b: RunscRelease): number | undefined {
  if (a.kind === 'unknown' || b.kind === 'unknown') return undefined;
  return a.date - b.date || a.point - b.point;
}

/**
 * Those of systemd's default PATH first. containerd may have another PATH, so a program in none of these may
 * still exist. https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24PATH,
 * docs/distributions.md
 */
export const PROGRAM_DIRECTORIES: readonly string[] = [
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

/** By absolute path or by name, preferring an executable file. Rejects if a disk times out. */
export async function findProgram(
  host: Host,
  directories: readonly string[],
  name: string,
): Promise<string | undefined> {
  if (name.startsWith('/')) return (await host.stat(name)) && name;
  let present: string | undefined;
  for (const directory of directories) {
    const path = posix.join('/', directory, name);
    // An unreadable directory counts as empty.
    const stat = await host.stat(path).catch((error: unknown) => {
      if (error instanceof TimeoutError) throw error;
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
 * A path or a file name; `undefined` for an invalid runtime type.
 * https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/shim/util.go
 */
export function shimOf({ runtimeType, runtimePath }: Pick<HandlerRuntime, 'runtimeType' | 'runtimePath'>) {
  if (runtimePath !== '') return runtimePath;
  if (runtimeType.startsWith('/')) return runtimeType;
  const parts = runtimeType.split('.');
  if (runtimeType.includes('/') || parts.length < 2 || parts[0] === '') return undefined;
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
}

export type RunscProgram = {
  readonly path: string;
  readonly release: RunscRelease;
  /** Possible code sizes in bytes, for pages of 4, 16 and 64 KiB. */
  readonly textBytes: ReadonlySet<number>;
};

/** Whether a process with so many pages of code may run this program. */
export function hasTextPages({ textBytes }: RunscProgram, pages: number): boolean {
  return PAGE_BYTES.some((bytes) => textBytes.has(pages * bytes));
}

/** Reads releases without executing programs; cached until the file changes. */
export class RunscPrograms {
  readonly #cache = new Map<
    string,
    { readonly fingerprint: string; readonly program: Promise<RunscProgram> }
  >();

  /** Those that the shim starts now with this settings file, or without one: "". None if the shim would start none. */
  async named(host: Host, configPath: string): Promise<readonly RunscProgram[]> {
    const config = configPath === '' ? DEFAULT_RUNSC_CONFIG : await readRunscConfig(host, configPath);
    if (config.fault !== undefined) return [];
    const runsc = await findProgram(host, PROGRAM_DIRECTORIES, config.binaryName);
    return runsc === undefined ? [] : this.readAll(host, runsc);
  }

  /** Also the sentry beside it, which runs sandboxes in releases since July 2026. */
  async readAll(host: Host, runsc: string): Promise<readonly RunscProgram[]> {
    const real = (await host.realpath(runsc)) ?? runsc;
    const sentries = [runsc, real].map((path) => posix.join(posix.dirname(path), 'gvisor-bin/gvisor_sentry'));
    const paths = [...new Set([runsc, ...sentries])];
    const programs = await Promise.all(paths.map((path) => this.read(host, path)));
    return programs.filter((program) => program !== undefined);
  }

  /** `undefined` without a file; the release is unknown if the file names several. */
  async read(host: Host, path: string): Promise<RunscProgram | undefined> {
    const stat = await host.stat(path);
    if (stat?.kind !== 'file') return undefined;
    const { fingerprint } = stat;
    const cached = this.#cache.get(path);
    if (cached?.fingerprint === fingerprint) return cached.program;
    const program = scan(host, path, stat.size);
    this.#cache.set(path, { fingerprint, program });
    program.catch(() => this.#cache.delete(path));
    return program;
  }
}

/**
 * As the linker writes it (`-X .../version.version=`), ended by a zero byte.
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/version/version.go
 */
const RELEASE = /(?:(?:release|google)-\d{8}\.\d+|0\.0~\d{8}\.\d+)[-.+~0-9A-Za-z]{0,40}\0/g;
const MAX_RELEASE_BYTES = 128;
/** Every release contains one of these; searching for them first is cheap. */
const MARKS = ['release-2', 'google-2', '0.0~2'];
/** A file with more such strings does not name its own release. */
const MAX_RELEASES = 16;
/** gVisor's programs have some 100 MiB. */
const MAX_PROGRAM_BYTES = 2 ** 30;
const HEADER_BYTES = 4096;

async function scan(host: Host, path: string, size: number): Promise<RunscProgram> {
  if (size > MAX_PROGRAM_BYTES) return { path, release: releaseOf(new Set()), textBytes: new Set() };
  const header = (await host.readStart(path, HEADER_BYTES)) ?? Buffer.alloc(0);
  const found = new Set<string>();
  for await (const piece of host.pieces(path, MAX_RELEASE_BYTES)) {
    if (!MARKS.some((mark) => piece.includes(mark, 0, 'latin1'))) continue;
    // Copied, because V8 slices would retain the whole 1 MiB string.
    for (const { 0: text, index } of piece.toString('latin1').matchAll(RELEASE))
      found.add(piece.toString('latin1', index, index + text.length - 1));
    if (found.size > MAX_RELEASES) break;
  }
  return { path, release: releaseOf(found), textBytes: textSegments(header) };
}

/**
 * The release that all strings name. Since August 2026 runsc embeds sidecars, which can come from another
 * commit: `release-20260831.0` beside `release-20260831.0-12-g602040cbcc58`.
 */
function releaseOf(texts: ReadonlySet<string>): RunscRelease {
  const [shortest = '', ...others] = [...texts].sort((a, b) => a.length - b.length);
  const isOne = others.length < MAX_RELEASES && others.every((text) => text.startsWith(`${shortest}-`));
  return parseRunscRelease(isOne ? shortest : '');
}
