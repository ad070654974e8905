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
