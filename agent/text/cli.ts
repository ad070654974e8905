import { parseArgs } from 'node:util';
import { SETTINGS, settingLines } from '../config.ts';
import { errorLine } from '../sanitize.ts';

const FLAG = { type: 'boolean', default: false } as const;
const FLAGS = { once: FLAG, json: FLAG, version: FLAG, help: FLAG };

/** The agent's command line flags, or what is wrong with them. */
export function parseArguments(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS }).values;
  } catch (error) {
    return { problem: errorLine(error) };
  }
}

/** The text of --help: flags, exit codes, and every setting with its default. */
export function helpText(version: string): string {
  return `gvisor-ready agent ${version}: proves that gVisor works on this node, and keeps watching it.

usage: npm start -- [--once] [--json] [--version] [--help]
  --once     evaluate once; exit code 0 proven, 1 not ready, 2 unknown, 64 wrong usage
  --json     print the report as JSON (with --once), else JSON logs

settings, from the environment:
${settingLines(SETTINGS, 18)}
`;
}

/** The exit code of `--once` by the status of its verdict. */
export const EXIT_CODES = { True: 0, False: 1, Unknown: 2 } as const;

/** The exit code for wrong usage and wrong settings. */
const USAGE = 64;

/** Writes to standard output and returns exit code 0. */
export function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** Writes one problem a line to standard error and returns the exit code. */
export function printProblems(problems: readonly string[], code: number = USAGE): number {
  process.stderr.write(`${problems.join('\n')}\n${code === USAGE ? 'Try --help.\n' : ''}`);
  return code;
}

const DEFAULT_WIDTH = 80;

/** Width (40 to 120 columns) and colour support of standard output. */
export function screenOf(): { readonly colored: boolean; readonly width: number } {
  const { isTTY, columns = DEFAULT_WIDTH } = process.stdout;
  return { colored: isTTY && process.stdout.hasColors(), width: Math.min(Math.max(columns, 40), 120) };
}
