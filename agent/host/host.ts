import { constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { TimeoutError } from '../async.ts';
import {
  type FileKind,
  isAbsent,
  isVisible,
  kindOf,
  NotVisible,
  refuseIrregular,
  resolvePath,
  visibleParts,
} from './paths.ts';
import { Semaphore } from './semaphore.ts';

/** What the host says of a path. */
export type FileStat = {
  readonly kind: FileKind;
  /** Permission bits, for example 0o755. */
  readonly mode: number;
  /** Bytes; 0 for most files under /proc. */
  readonly size: number;
  /** Device and inode: what tells a path from another that takes its name. */
  readonly identity: string;
  /** Changes with the file: identity, size and times. */
  readonly fingerprint: string;
  /** When it last changed, its mode and owner too; for a folder, also when a name in it last came or went. Wall clock, milliseconds. */
  readonly changedMs: number;
};

const MAX_BYTES = 1024 * 1024;
const PIECE_BYTES = 1024 * 1024;
const READ_ONLY = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/**
 * A read-only view of a node's files below a root directory ("/" on the node itself, "/host" in a pod).
 * Every path given and returned is a path of the host; symbolic links never lead out of the root.
 * A path that does not exist is `undefined`, one outside of the agent's mounts throws {@link NotVisible}, and anything
 * else that hinders the look throws `Cannot read host file "/x": EACCES`, with the cause attached. Every call ends
 * within `answerMs` of its turn, whatever the file system does ({@link Semaphore}).
 */
export class Host {
  readonly root: string;
  readonly #turns: Semaphore;
  readonly #mountInfo: string | undefined;
  #parts: Promise<readonly string[] | undefined> | undefined;

  /** `mountInfo` is where the mounts of this process are told, when it is not the usual file. */
  constructor(root: string, answerMs?: number, mountInfo?: string) {
    this.root = root;
    this.#turns = new Semaphore(answerMs);
    this.#mountInfo = mountInfo;
  }

  /**
   * The host path behind every symbolic link of `path`. `onStep` hears each folder that is visible on the way there, links
   * resolved, and the name in it that leads on, also where the way ends early.
   */
  async realpath(path: string, onStep?: (folder: string, name: string) => void): Promise<string | undefined> {
    try {
      this.#parts ??= visibleParts(this.root, this.#mountInfo);
      const parts = await this.#parts;
      const step =
        onStep &&
        ((folder: string, name: string) => {
          if (isVisible(folder, parts)) onStep(folder, name);
        });
      const real = await this.#turns.run(path, () => resolvePath(this.root, path, step));
      if (!isVisible(real.path, parts)) throw new NotVisible(real.path, this.root);
      return real.exists ? real.path : undefined;
    } catch (cause) {
      throw cause instanceof NotVisible ? cause : this.#problem(path, cause);
    }
  }

  /** The path under which this process reaches the host's `path`, links resolved; it is what to execute or watch. */
  async localPath(path: string): Promise<string | undefined> {
    const real = await this.realpath(path);
    return real === undefined ? undefined : join(this.root, real);
  }

  /** What lies behind every symbolic link of a path. */
  async stat(path: string): Promise<FileStat | undefined> {
    return this.#at(path, await this.localPath(path), statOf);
  }

  /** What a path itself names: a link at its end is not followed. */
  async statEntry(path: string): Promise<FileStat | undefined> {
    return this.#at(path, await this.#localEntry(path), statOf);
  }

  async #localEntry(path: string): Promise<string | undefined> {
    const parent = await this.localPath(dirname(path));
    return parent === undefined ? undefined : join(parent, basename(path));
  }

  /** Names in a directory, sorted by code unit as Go's filepath.Glob sorts them. */
  async list(path: string): Promise<readonly string[] | undefined> {
    const names = await this.#at(path, await this.localPath(path), (local) => readdir(local));
    return names?.sort((a, b) => (a < b ? -1 : 1));
  }

  /** The text of a symbolic link itself, for example of /proc/1/exe; a link is not followed. */
  async readLink(path: string): Promise<string | undefined> {
    return this.#at(path, await this.#localEntry(path), (local) => readlink(local));
  }

  /** A whole regular file as UTF-8; throws when it is larger than `maxBytes` (1 MiB) or is no regular file. */
  async readText(path: string, maxBytes = MAX_BYTES): Promise<string | undefined> {
    const bytes = await this.readStart(path, maxBytes + 1);
    if (bytes !== undefined && bytes.length > maxBytes)
      throw this.#problem(path, new Error(`it is larger than ${maxBytes} bytes`));
    return bytes?.toString('utf8');
  }

  /** The first `length` bytes of a regular file of any size, fewer when it is shorter. */
  async readStart(path: string, length: number): Promise<Buffer | undefined> {
    return this.#at(path, await this.localPath(path), async (local) => {
      // Looked at before it is opened: opening a watchdog or a tape device already changes it.
      refuseIrregular(await lstat(local));
      await using file = await open(local, READ_ONLY);
      refuseIrregular(await file.stat());
      // Read to its end, whatever its size: files under /proc say that they have none.
      return Buffer.concat(await file.createReadStream({ end: length - 1, autoClose: false }).toArray());
    });
  }

  /**
   * A regular file in pieces of at most 1 MiB, each beginning with the last `overlap` bytes of the one before; none
   * for a file that does not exist. One buffer serves all pieces.
   */
  async *pieces(path: string, overlap: number): AsyncGenerator<Buffer> {
    let isWanted = true;
    const openIt = async (local: string) => {
      const opened = await open(local, READ_ONLY);
      if (!isWanted) await opened.close(); // too late
      return opened;
    };
    const file = await this.#at(path, await this.localPath(path), openIt).finally(() => {
      isWanted = false;
    });
    if (file === undefined) return;
    try {
      refuseIrregular(await this.#turns.run(path, () => file.stat()));
      const buffer = Buffer.alloc(PIECE_BYTES);
      for (let kept = 0; ; ) {
        const { bytesRead } = await this.#turns.run(path, () =>
          file.read(buffer, kept, buffer.length - kept, null),
        );
        if (bytesRead === 0) return;
        const length = kept + bytesRead;
        yield buffer.subarray(0, length);
        kept = Math.min(overlap, length);
        buffer.copy(buffer, 0, length - kept, length);
      }
    } finally {
      // Not waited for: it waits itself for a reading that may never end.
      void file.close().catch(() => {});
    }
  }

  /** What some work finds where a path is for this process; undefined where it is not. */
  async #at<T>(
    path: string,
    local: string | undefined,
    work: (local: string) => Promise<T>,
  ): Promise<T | undefined> {
    if (local === undefined) return undefined;
    try {
      return await this.#turns.run(path, () => work(local));
    } catch (cause) {
      if (isAbsent(cause)) return undefined;
      throw this.#problem(path, cause);
    }
  }

  #problem(path: string, cause: unknown): Error {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = typeof code === 'string' ? code : message;
    const words = `Cannot read host file "${path}": ${why}`;
    return cause instanceof TimeoutError ? new TimeoutError(words, { cause }) : new Error(words, { cause });
  }
}

async function statOf(local: string): Promise<FileStat> {
  const stats = await lstat(local);
  const { dev, ino, size, mtimeMs, ctimeMs } = stats;
  const identity = `${dev}:${ino}`;
  const fingerprint = [identity, size, mtimeMs, ctimeMs].join(':');
  const mode = stats.mode & 0o7777;
  return { kind: kindOf(stats), mode, size, identity, fingerprint, changedMs: ctimeMs };
}

/**
 * Where this process finds a socket of the host: a link on the way is one of the host, such as /var/run. Throws
 * {@link NotVisible} for one outside of the agent's mounts.
 */
export async function localSocket(host: Host, socket: string): Promise<string> {
  const folder = await host.localPath(dirname(socket)).catch((error: unknown) => {
    if (error instanceof NotVisible) throw error;
  });
  return join(folder ?? join(host.root, dirname(socket)), basename(socket));
}
