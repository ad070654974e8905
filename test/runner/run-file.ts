import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  readonly testTimeoutMs: number;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
};

export async function runFile(file: string, { testTimeoutMs, ...options }: RunFileOptions) {
  const directory = mkdtempSync(join(tmpdir(), 'tally-'));
  const tally = join(directory, 'tally.json');
  try {
    const result = await runProgram(
      file,
      [
        ...['--import', 'tsx', '--test', '--test-isolation=none', `--test-timeout=${testTimeoutMs}`],
        ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
        ...['--test-reporter=./test/runner/reporter.ts', `--test-reporter-destination=${tally}`],
        file,
      ],
      options,
    );
    const { tests, failed, skipped } = readTally(tally);
    return { ...result, tests, skipped, passed: result.passed && failed === 0 && tests > 0 };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Runs Node with these arguments; `name` takes the place of the file in the result. */
export async function runProgram(
  name: string,
  args: readonly string[],
  { env, signal }: Omit<RunFileOptions, 'testTimeoutMs'>,
): Promise<FileResult> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, {
    cwd: REPO,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Inside a test of node:test this variable would change the reporters.
    env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined },
  });
  const stop = () => child.kill();
  signal.addEventListener('abort', stop);
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  signal.removeEventListener('abort', stop);
  return {
    file: name,
    passed: code === 0,
    seconds: (performance.now() - begun) / 1000,
    tests: 0,
    skipped: [],
    output: Buffer.concat(output).toString(),
  };
}

function readTally(file: string): Tally {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Tally;
  } catch {
    return { tests: 0, failed: 1, skipped: [] };
  }
}

/** The summary of failures of the reporter `spec`, or the last lines of other output. */
export function failuresIn(output: string): string {
  const at = output.lastIndexOf('✖ failing tests:');
  if (at >= 0) return output.slice(at).trim();
  return output.trimEnd().split('\n').slice(-60).join('\n');
}
