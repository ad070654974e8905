import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { TimeoutError } from '../base/async.ts';
import {
  type FileKind,
  isAbsent,
  isVisible,
  kindOf,
  type LinkTarget,
  NotVisible,
  readLinkTarget,
  refuseIrregular,
  resolvePath,
  visibleParts,
} from './paths.ts';
import { Semaphore } from './semaphore.ts';

export type FileStat = {
  readonly kind: FileKind;
  readonly mode: number;
  /** Bytes; 0 for most files under /proc. */
  readonly size: number;
  /** Device and inode: they change if another file takes the path. */
  readonly identity: string;
  readonly fingerprint: string;
  /** Change of content, attributes or entries. Wall clock, milliseconds. */
  readonly changedMs: number;
};

const MAX_BYTES = 1024 * 1024;
const PIECE_BYTES = 1024 * 1024;
const CHUNK_BYTES = 16 * 1024;
const READ_ONLY = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/**
 * Read-only view of the files below a root ("/", or "/host" in a pod). All paths are the host's, and links
 * never lead out of the root. An absent path is `undefined`; one outside of the agent's mounts throws {@link
 * NotVisible}; others `Cannot read host file "/x": EACCES` with the cause, a {@link TimeoutError} after
 * `timeoutMs`.
 */
export class Host {
  readonly root: string;
  readonly #mountInfo: string | undefined;
  #semaphore: Semaphore;
  #parts: Promise<readonly string[] | undefined> | undefined;
  #linkTarget: LinkTarget = readLinkTarget;

  /** `mountInfo` replaces /proc/self/mountinfo. */
  constructor(root: string, timeoutMs?: number, mountInfo?: string) {
    this.root = root;
    this.#semaphore = new Semaphore(timeoutMs);
    this.#mountInfo = mountInfo;
  }

  /**
   * The same files for one look at many paths: an entry that several pass is asked only once whether it is a link. Not to
   * be kept, because it does not see a link that changes.
   */
  glance(): Host {
    const glance = new Host(this.root);
    glance.#semaphore = this.#semaphore;
    glance.#parts = this.#visibleParts();
    const targets = new Map<string, ReturnType<LinkTarget>>();
    glance.#linkTarget = (local) => {
      const target = targets.get(local) ?? readLinkTarget(local);
      targets.set(local, target);
      return target;
    };
    return glance;
  }

  /**
   * Resolves all links. `onStep` receives each visible directory on the way and the entry followed in it,
   * even if a later one does not exist.
   */
  async realpath(
    path: string,
    onStep?: (directory: string, name: string) => void,
  ): Promise<string | undefined> {
    try {
      const parts = await this.#visibleParts();
      const step =
        onStep &&
        ((directory: string, name: string) => {
          if (isVisible(directory, parts)) onStep(directory, name);
        });
      const real = await this.#semaphore.run(path, () =>
        resolvePath(this.root, path, this.#linkTarget, step),
      );
      if (!isVisible(real.path, parts)) throw new NotVisible(real.path, this.root);
      return real.exists ? real.path : undefined;
    } catch (cause) {
      throw cause instanceof NotVisible ? cause : this.#problem(path, cause);
    }
  }

  #visibleParts(): Promise<readonly string[] | undefined> {
    this.#parts ??= visibleParts(this.root, this.#mountInfo);
    return this.#parts;
  }

  /** As this process reaches it, links resolved. */
  async localPath(path: string): Promise<string | undefined> {
    const real = await this.realpath(path);
    return real === undefined ? undefined : join(this.root, real);
  }

  /** Attributes of a path, links followed. */
  async stat(path: string): Promise<FileStat | undefined> {
    return this.#at(path, await this.localPath(path), statOf);
  }

  /** Does not follow a final link. */
  async statEntry(path: string): Promise<FileStat | undefined> {
    const parent = await this.localPath(dirname(path));
    return this.#at(path, parent && join(parent, basename(path)), statOf);
  }

  /** Sorted by code unit, as by Go's filepath.Glob. */
  async list(path: string): Promise<readonly string[] | undefined> {
    const names = await this.#at(path, await this.localPath(path), (local) => readdir(local));
    return names?.sort((a, b) => (a < b ? -1 : 1));
  }

  /** UTF-8; throws if it is larger than `maxBytes` (1 MiB) or not a regular file. */
  async readText(path: string, maxBytes = MAX_BYTES): Promise<string | undefined> {
    const bytes = await this.readStart(path, maxBytes + 1);
    if (bytes !== undefined && bytes.length > maxBytes)
      throw this.#problem(path, new Error(`it is larger than ${maxBytes} bytes`));
    return bytes?.toString('utf8');
  }

  /** In one turn, which is cheaper. A file is absent if it cannot be read, is a link, or is larger than `maxBytes`. */
  async readTexts<Name extends string>(
    directory: string,
    names: readonly Name[],
    maxBytes = MAX_BYTES,
  ): Promise<Readonly<Partial<Record<Name, string>>> | undefined> {
    return this.#at(directory, await this.localPath(directory), async (local) => {
      const texts: Partial<Record<Name, string>> = {};
      for (const name of names) {
        const bytes = await readRegular(join(local, name), maxBytes + 1).catch(() => undefined);
        if (bytes !== undefined && bytes.length <= maxBytes) texts[name] = bytes.toString('utf8');
      }
      return texts;
    });
  }

  /** Fewer bytes if the file is shorter. */
  async readStart(path: string, length: number): Promise<Buffer | undefined> {
    return this.#at(path, await this.localPath(path), async (local) => {
      // Before opening: to open some devices, such as a watchdog, has effects.
      refuseIrregular(await lstat(local));
      return readRegular(local, length);
    });
  }

  /**
   * Pieces of at most 1 MiB in one shared buffer, each starting with the last `overlap` bytes of the previous
   * one; none without the file.
   */
  async *pieces(path: string, overlap: number): AsyncGenerator<Buffer> {
    let isWanted = true;
    const openIt = async (local: string) => {
      const opened = await open(local, READ_ONLY);
      if (!isWanted) await opened.close(); // timed out meanwhile
      return opened;
    };
    const file = await this.#at(path, await this.localPath(path), openIt).finally(() => {
      isWanted = false;
    });
    if (file === undefined) return;
    try {
      refuseIrregular(await this.#semaphore.run(path, () => file.stat()));
      const buffer = Buffer.alloc(PIECE_BYTES);
      for (let kept = 0; ; ) {
        const { bytesRead } = await this.#semaphore.run(path, () =>
          file.read(buffer, kept, buffer.length - kept, null),
        );
        if (bytesRead === 0) return;
        const length = kept + bytesRead;
        yield buffer.subarray(0, length);
        kept = Math.min(overlap, length);
        buffer.copy(buffer, 0, length - kept, length);
      }
    } finally {
      // Not awaited: closing waits for a read that may never return.
      void file.close().catch(() => {});
    }
  }

  async #at<T>(
    path: string,
    local: string | undefined,
    work: (local: string) => Promise<T>,
  ): Promise<T | undefined> {
    if (local === undefined) return undefined;
    try {
      return await this.#semaphore.run(path, () => work(local));
    } catch (cause) {
      if (isAbsent(cause)) return undefined;
      throw this.#problem(path, cause);
    }
  }

  #problem(path: string, cause: unknown): Error {
    const { code, message: text } = cause as NodeJS.ErrnoException;
    const message = `Cannot read host file "${path}": ${typeof code === 'string' ? code : text}`;
    return cause instanceof TimeoutError
      ? new TimeoutError(message, { cause })
      : new Error(message, { cause });
  }
}

/** Reads until EOF, because files under /proc report size 0. */
async function readRegular(local: string, length: number): Promise<Buffer> {
  await using file = await open(local, READ_ONLY);
  refuseIrregular(await file.stat());
  const pieces: Buffer[] = [];
  for (let left = length; left > 0; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, CHUNK_BYTES)));
    if (bytesRead === 0) break;
    pieces.push(buffer.subarray(0, bytesRead));
    left -= bytesRead;
  }
  return Buffer.concat(pieces);
}

async function statOf(local: string): Promise<FileStat> {
  const stats = await lstat(local);
  const { dev, ino, size, mtimeMs, ctimeMs } = stats;
  const identity = `${dev}:${ino}`;
  const fingerprint = [identity, size, mtimeMs, ctimeMs].join(':');
  const mode = stats.mode & 0o7777;
  return { kind: kindOf(stats), mode, size, identity, fingerprint, changedMs: ctimeMs };
}

/** Links in its directory, such as /var/run, are the host's. Throws {@link NotVisible}. */
export async function localSocket(host: Host, socket: string): Promise<string> {
  const directory = await host.localPath(dirname(socket)).catch((error: unknown) => {
    if (error instanceof NotVisible) throw error;
  });
  return join(directory ?? join(host.root, dirname(socket)), basename(socket));
}
