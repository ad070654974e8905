import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { REPO } from '../../hack/paths.ts';
import type { Tally } from './reporter.ts';

/** The outcome of a test file, or of another step under its name. */
export type FileResult = {
  readonly file: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly tests: number;
  readonly skipped: readonly string[];
  /** stdout and stderr. */
  readonly output: string;
};

export type RunFileOptions = {
  /** Limit for a test that does not set its own. */
  readonly testTimeoutMs: number;
  /** Limit for the file, which is killed then. */
  readonly fileTimeoutMs: number;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** The file of a report in JUnit's format. */
  readonly junit?: string | undefined;
};

export async function runFile(file: string, options: RunFileOptions): Promise<FileResult> {
  const { testTimeoutMs, fileTimeoutMs, junit, env, signal } = options;
  const directory = mkdtempSync(join(tmpdir(), 'tally-'));
  const tally = join(directory, 'tallies');
  const reporters = [
    ['spec', 'stdout'],
    ['./test/runner/reporter.ts', 'stderr'],
    ...(junit === undefined ? [] : [['junit', junit]]),
  ];
  const late = AbortSignal.timeout(Math.ceil(fileTimeoutMs)); // which refuses a fraction
  try {
    const result = await runProgram(
      file,
      [
        ...['--test', '--test-isolation=none', `--test-timeout=${testTimeoutMs}`],
        '--test-force-exit', // a handle that a test leaves open would keep the process
        ...reporters.flatMap(([reporter, to]) => [
          `--test-reporter=${reporter}`,
          `--test-reporter-destination=${to}`,
        ]),
        file,
      ],
      { env: { ...env, TALLIES: tally }, signal: AbortSignal.any([signal, late]) },
    );
    const { tests, failed, skipped, running } = readTally(tally);
    const passed = result.passed && failed === 0 && tests > 0;
    const where = running.length === 0 ? 'outside of a test' : `in the test "${running.join(' > ')}"`;
    const ended = `${file} did not end within ${Math.round(fileTimeoutMs / 1_000)} s and was killed ${where}`;
    const output = late.aborted ? `${failuresIn(result.output)}\n${ended}` : result.output;
    return { ...result, tests, skipped, passed, output };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Runs Node with these arguments until the signal kills it and its children; `name` takes the place of the file in the result. */
export async function runProgram(
  name: string,
  args: readonly string[],
  { env, signal }: Pick<RunFileOptions, 'env' | 'signal'>,
): Promise<FileResult> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, {
    cwd: REPO,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, to be killed as one
    // Inside a test of node:test this variable would change the reporters.
    env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined },
  });
  const stop = () => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL');
  signal.addEventListener('abort', stop);
  const output: Buffer[] = [];
  const streams = [child.stdout, child.stderr];
  for (const stream of streams) stream.on('data', (chunk: Buffer) => output.push(chunk));
  const closed = once(child, 'close');
  const [code] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', stop);
  // A program that a test left behind may hold the streams open.
  await Promise.race([closed, timers.setTimeout(1_000, undefined, { ref: false })]);
  for (const stream of streams) stream.destroy();
  return {
    file: name,
    passed: code === 0,
    seconds: (performance.now() - begun) / 1000,
    tests: 0,
    skipped: [],
    output: Buffer.concat(output).toString(),
  };
}

/** The last whole tally; without one the file was not loaded. */
function readTally(file: string): Tally {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
  const last = lines.at(-1);
  if (last !== undefined) return JSON.parse(last) as Tally;
  return { tests: 0, failed: 1, skipped: [], running: [] };
}

/** The summary of failures of the reporter `spec`, or the last lines of other output. */
export function failuresIn(output: string): string {
  const at = output.lastIndexOf('✖ failing tests:');
  if (at >= 0) return output.slice(at).trim();
  return output.trimEnd().split('\n').slice(-60).join('\n');
}
