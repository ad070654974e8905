import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A mistake of the user or something this machine lacks: printed as one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The work of a program: an error is its message, with DEBUG the stack, and the exit code is 2 for a {@link UsageError}, else 1. */
export async function runMain(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    console.error(error instanceof Error && !process.env.DEBUG ? error.message : error);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

export type RunOptions = {
  /** Standard input. */
  readonly input?: string | undefined;
  /** 60 s by default. */
  readonly timeoutMs?: number | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
  /** The kernel kills the program when this process ends; for root with all its children. */
  readonly killOnExit?: boolean;
  /** How far it yields to other programs, as nice(1) counts: 0 to 19. */
  readonly niceness?: number;
  /** Is called with each line of standard error as it comes. */
  readonly onErrorLine?: (line: string) => void;
};

/** Resolves with standard output. Rejects with the last lines of standard error if the program fails or times out. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return runAll(command, args, options).then(({ code, stdout, stderr }) => {
    if (code === 0) return stdout;
    const tail = (stderr.trim() || stdout.trim()).split('\n').slice(-6).join('\n');
    throw new Error(`"${command} ${args.join(' ')}" ended with ${code}: ${tail}`);
  });
}

/** A failed exit is a result too. The code is -1 after a signal. */
export async function runAll(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const { input, cwd, env, signal } = options;
  const timeoutMs = patient(options.timeoutMs ?? 60_000);
  const [program, words] = wrap([command, ...args], options);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(program, words, {
    cwd,
    env,
    signal,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    for (const stream of [child.stdout, child.stderr]) stream.destroy(); // a grandchild may hold them open
  }, timeoutMs);
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  if (options.onErrorLine) createInterface({ input: child.stderr }).on('line', options.onErrorLine);
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

/** The program and its arguments, behind the programs that give it what the options ask for. */
function wrap(
  command: readonly [string, ...string[]],
  { killOnExit = false, niceness = 0 }: RunOptions,
): readonly [string, readonly string[]] {
  const [program, ...args]: readonly [string, ...string[]] =
    niceness === 0 ? command : ['nice', '-n', String(niceness), ...command];
  if (!killOnExit || process.platform !== 'linux' || process.getuid?.() !== 0) return [program, args];
  const namespace = ['unshare', '--pid', '--fork', '--kill-child=SIGKILL', '--', program, ...args];
  return ['setpriv', ['--pdeathsig', 'KILL', '--', ...namespace]];
}

/** PATIENCE scales timeouts; parallel test tiers set it to 3. */
export function patient(quietMs: number): number {
  return quietMs * Number(process.env.PATIENCE ?? 1);
}

/**
 * Polls until `probe` returns something other than undefined or false: ten times a second, and less often the longer it
 * takes. Rejects with its last error after `timeoutMs`, scaled by {@link patient}.
 */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined | false>,
  everyMs?: number,
): Promise<T> {
  const begun = Date.now();
  let last: unknown;
  for (;;) {
    try {
      const seen = await probe();
      if (seen !== undefined && seen !== false) return seen;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() - begun > patient(timeoutMs)) {
      const why = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`Waited ${patient(timeoutMs) / 1000} s for ${what} in vain${why}`, { cause: last });
    }
    const pauseMs = everyMs ?? Math.min(500, Math.max(100, (Date.now() - begun) / 20));
    await pause(pauseMs / 1_000);
  }
}

export function pause(seconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, seconds * 1_000));
}

/** Ctrl-C or SIGTERM then do not end the process: the caller cleans up. */
export function untilStopped(): Promise<'stopped'> {
  const { promise, resolve } = Promise.withResolvers<'stopped'>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('stopped'));
  return promise;
}
