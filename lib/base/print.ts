/** Wrong usage and wrong settings. */
const USAGE = 64;

/** Returns exit code 0. */
export function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** One a line on standard error; returns the exit code. */
export function printProblems(problems: readonly string[], code: number = USAGE): number {
  process.stderr.write(`${problems.join('\n')}\n${code === USAGE ? 'Try --help.\n' : ''}`);
  return code;
}

const DEFAULT_WIDTH = 80;

/** Standard output; the width is 40 to 120 columns. */
export function screenOf(): { readonly colored: boolean; readonly width: number } {
  const { isTTY, columns = DEFAULT_WIDTH } = process.stdout;
  return { colored: isTTY && process.stdout.hasColors(), width: Math.min(Math.max(columns, 40), 120) };
}
