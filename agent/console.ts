/** The exit code for wrong usage and wrong settings. */
const USAGE = 64;

/** Prints to standard output; gives the exit code for that it went well. */
export function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** Says what is wrong, a line each, and gives the exit code; that of wrong usage points to the help. */
export function complain(problems: readonly string[], code: number = USAGE): number {
  process.stderr.write(`${problems.join('\n')}\n${code === USAGE ? 'Try --help.\n' : ''}`);
  return code;
}

/** What standard output shows: as wide as the terminal, within reason, else as wide as most are; colours where it has them. */
export function screenOf(): { readonly colored: boolean; readonly width: number } {
  const { isTTY, columns = USUAL_WIDTH } = process.stdout;
  return { colored: isTTY && process.stdout.hasColors(), width: Math.min(Math.max(columns, 40), 120) };
}

const USUAL_WIDTH = 80;
