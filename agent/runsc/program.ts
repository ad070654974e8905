import { posix } from 'node:path';
import { TimeoutError } from '../async.ts';
import type { HandlerRuntime } from '../containerd/config.ts';
import type { Host } from '../host/host.ts';
import { textSegments } from '../host/program.ts';

/** A gVisor release as numbers that can be ordered, or `unknown` for a text that names none. */
export type RunscRelease =
  | { readonly kind: 'release'; readonly date: number; readonly point: number; readonly text: string }
  | { readonly kind: 'unknown'; readonly text: string };

/**
 * Reads every known form of a gVisor version: `release-20260817.0`, the same with `-70-g3c5eee17dc45` or
 * `-dirty` behind it, Google's own `google-20260817.0`, Debian's `0.0~20240729.0`, a bare `20220516.0`.
 * A plain `go build` says `VERSION_MISSING`, which is unknown.
 * https://github.com/google/gvisor/blob/master/runsc/config/config.go
 */
export function parseRunscRelease(text: string): RunscRelease {
  const trimmed = text.trim();
  const match =
    /^(?:release-|g[a-z]*-|0\.0~|v)?(\d{8})(?:\.(\d{1,6}))?(?:-\d+-g[0-9a-f]+)?(?:[-+~][0-9A-Za-z.+~-]*)?$/.exec(
      trimmed,
    );
  const date = match?.[1] ?? '';
  if (!isDate(date)) return { kind: 'unknown', text: trimmed };
  return { kind: 'release', date: Number(date), point: Number(match?.[2] ?? 0), text: trimmed };
}

/** Below 0 when `a` is older than `b`, above 0 when newer; `undefined` when one of them is unknown. */
export function compareReleases(a: RunscRelease, b: RunscRelease): number | undefined {
  if (a.kind === 'unknown' || b.kind === 'unknown') return undefined;
  return a.date - b.date || a.point - b.point;
}

function isDate(digits: string): boolean {
  const date = Date.parse(digits.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3'));
  return date >= Date.UTC(2018);
}

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

/** A program of gVisor as its file describes it. */
export type RunscProgram = {
  readonly path: string;
  readonly release: RunscRelease;
  /** Sizes in bytes that its code can have in memory, at page sizes of 4, 16 and 64 KiB. */
  readonly textBytes: ReadonlySet<number>;
};

/**
 * The linker writes the release as a text of its own that ends with a zero byte (`-X …/version.version=`, in Bazel's
 * builds and in Go's), and `VERSION_MISSING` where nobody set one.
 * Source: https://github.com/google/gvisor/blob/release-20260223.0/runsc/version/version.go
 */
const RELEASE = /(?:(?:release|google)-\d{8}\.\d+|0\.0~\d{8}\.\d+)[-.+~0-9A-Za-z]{0,40}\0/g;
const LONGEST = 128;
/** Every known form has one of these in it, and looking for them is what makes a scan cheap. */
const MARKS = ['release-2', 'google-2', '0.0~2'];
const HEADER_BYTES = 4096;
/** More texts than this name no release, whatever they are. */
const MOST_TEXTS = 16;

/** A program of gVisor has some 100 MiB; what is larger is none, and would be read for long. */
const MOST_BYTES = 2 ** 30;

/**
 * Reads the release out of program files, without running any. A file is read again only when it has changed; a slow
 * reading outlives the look that asked for it.
 */
export class RunscPrograms {
  readonly #known = new Map<
    string,
    { readonly fingerprint: string; readonly program: Promise<RunscProgram> }
  >();

  /** runsc at that host path, and the sentry beside it, which is the program of a sandbox in releases since July 2026. */
  async readAll(host: Host, runsc: string): Promise<readonly RunscProgram[]> {
    const real = (await host.realpath(runsc)) ?? runsc;
    const sentries = [runsc, real].map((path) => posix.join(posix.dirname(path), 'gvisor-bin/gvisor_sentry'));
    const paths = [...new Set([runsc, ...sentries])];
    return (await Promise.all(paths.map((path) => this.read(host, path)))).filter(
      (each) => each !== undefined,
    );
  }

  /** The program at that host path; undefined where there is none. A file that names two releases that differ names none. */
  async read(host: Host, path: string): Promise<RunscProgram | undefined> {
    const stat = await host.stat(path);
    if (stat?.kind !== 'file') return undefined;
    const { fingerprint } = stat;
    const known = this.#known.get(path);
    if (known?.fingerprint === fingerprint) return known.program;
    const program = scan(host, path, stat.size);
    this.#known.set(path, { fingerprint, program });
    // A reading that failed is tried again.
    program.catch(() => this.#known.delete(path));
    return program;
  }
}

async function scan(host: Host, path: string, size: number): Promise<RunscProgram> {
  if (size > MOST_BYTES) return { path, release: releaseOf(new Set()), textBytes: new Set() };
  const header = (await host.readStart(path, HEADER_BYTES)) ?? Buffer.alloc(0);
  const found = new Set<string>();
  for await (const piece of host.pieces(path, LONGEST)) {
    if (!MARKS.some((mark) => piece.includes(mark, 0, 'latin1'))) continue;
    // Out of the piece itself: V8 makes a part of a text by keeping the whole, here 1 MiB.
    for (const { 0: text, index } of piece.toString('latin1').matchAll(RELEASE))
      found.add(piece.toString('latin1', index, index + text.length - 1));
    if (found.size > MOST_TEXTS) break;
  }
  return { path, release: releaseOf(found), textBytes: textSegments(header) };
}

/**
 * The one release that all of these texts name. runsc of August 2026 and later has sidecars inside, which may have been
 * built from the same release at another commit: `release-20260831.0` beside `release-20260831.0-12-g602040cbcc58`.
 */
function releaseOf(texts: ReadonlySet<string>): RunscRelease {
  const [shortest = '', ...others] = [...texts].sort((a, b) => a.length - b.length);
  const isOne = others.length < MOST_TEXTS && others.every((text) => text.startsWith(`${shortest}-`));
  return parseRunscRelease(isOne ? shortest : '');
}
