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
