import { type ChildProcess, spawn } from 'node:child_process';
import { readProgram } from './elf.ts';
import type { Host } from './host.ts';

/** How long and how much a program may run and print before it is killed. */
export type RunLimits = { readonly timeoutMs?: number; readonly maxBytes?: number };

const TIMEOUT_MS = 5000;
const MAX_BYTES = 64 * 1024;

/**
 * The output of `<path> --version` on stdout and stderr together, `path` being a host path.
 * Throws when the program cannot be started, ends with a code, does not end within 5 s or prints more than
 * 64 KiB; it and everything that it started is then killed. No shell, no environment but PATH.
 */
export async function runVersion(
  host: Host,
  path: string,
  {
    signal,
    timeoutMs = TIMEOUT_MS,
    maxBytes = MAX_BYTES,
  }: RunLimits & { readonly signal?: AbortSignal } = {},
): Promise<string> {
  const failure = (why: string, cause?: unknown) =>
    new Error(`Cannot run "${path} --version": ${why}`, cause === undefined ? {} : { cause });
  const local = await host.localPath(path);
  if (local === undefined) throw failure('ENOENT');
  const program = await readProgram(host, path, signal);
  // The C library hands what the kernel cannot execute to a shell, which would run a text as commands.
  if (!program || program.kind === 'other') throw failure('it is no program');
  if (program.kind === 'elf' && program.machine !== process.arch) {
    throw failure(`it is built for ${program.machine}`);
  }
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  // A group of its own, so that what a wrapper script starts is killed with it.
  const child = spawn(local, ['--version'], {
    cwd: '/',
    detached: true,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stop = (why: string): void => {
    killGroup(child);
    reject(failure(why, signal?.reason));
  };
  const timer = setTimeout(() => stop(`it did not end within ${timeoutMs} ms`), timeoutMs);
  const onAbort = () => stop('the check was stopped');
  signal?.addEventListener('abort', onAbort, { once: true });
  const chunks: Buffer[] = [];
  let bytes = 0;
  const keep = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > maxBytes) stop(`it printed more than ${maxBytes} bytes`);
    else chunks.push(chunk);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', (cause: NodeJS.ErrnoException) => reject(failure(cause.code ?? cause.message, cause)));
  child.on('close', (code, killedBy) => {
    const output = Buffer.concat(chunks).toString('utf8');
    if (code === 0) resolve(output);
    else reject(failure(`it ended with ${killedBy ?? `code ${code}`}: ${firstLine(output)}`));
  });
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    child.stdout.destroy();
    child.stderr.destroy();
    killGroup(child);
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Nothing of the group is left.
  }
}

function firstLine(output: string): string {
  return output.trim().split('\n')[0]?.slice(0, 300) ?? '';
}
