import { spawn } from 'node:child_process';

/** A fault in what the user asked for or in the machine: printed as one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** How to run a program: text for its standard input, a deadline in milliseconds, what to do with each line. */
export type RunOptions = {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
};

/**
 * Runs a program to its end and gives its standard output. Rejects when it cannot be started, ends
 * with another code than 0, or passes its deadline (60 s unless told otherwise); the message holds
 * the last lines of its standard error.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return runAll(command, args, options).then(({ code, stdout, stderr }) => {
    if (code === 0) return stdout;
    const tail = (stderr.trim() || stdout.trim()).split('\n').slice(-6).join('\n');
    throw new Error(`"${command} ${args.join(' ')}" ended with ${code}: ${tail}`);
  });
}

/** Like {@link run}, but an exit code other than 0 is a result. A program killed by a signal has code -1. */
export async function runAll(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const { input, cwd, env, signal } = options;
  const timeoutMs = patient(options.timeoutMs ?? 60_000);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(signal === undefined ? {} : { signal, killSignal: 'SIGKILL' as const }),
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    for (const stream of [child.stdout, child.stderr]) stream.destroy(); // what it started may hold them open
  }, timeoutMs);
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  child.stdin.on('error', () => {}); // a program may end without reading its input
  child.stdin.end(input ?? '');
  child.on('error', (cause) => reject(new Error(`Cannot run "${command}": ${cause.message}`, { cause })));
  child.on('close', (code) => resolve(code ?? -1));
  try {
    const code = await promise;
    if (late) throw new Error(`"${command} ${args.join(' ')}" did not end within ${timeoutMs} ms`);
    return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The milliseconds to wait on this machine for what a quiet one does in `quietMs`. The environment variable PATIENCE is
 * the factor; the tiers of tests run with 3, since their files share the machine.
 */
export function patient(quietMs: number): number {
  return quietMs * Number(process.env.PATIENCE ?? 1);
}

/** Asks `probe` again and again until it gives something other than undefined, or `timeoutMs` (made patient) have passed. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined>,
  everyMs = 100,
): Promise<T> {
  const begun = Date.now();
  let last: unknown;
  for (;;) {
    try {
      const seen = await probe();
      if (seen !== undefined) return seen;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() - begun > patient(timeoutMs)) {
      const why = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`Waited ${patient(timeoutMs) / 1000} s for ${what} in vain${why}`, { cause: last });
    }
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}

/** Waits for so many seconds. */
export function pause(seconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, seconds * 1_000));
}
