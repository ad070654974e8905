/** Oldest first. */
const running: (() => Promise<unknown>)[] = [];

/** Standard error, beside the lines of {@link progress}. */
export function note(text: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
}

/**
 * Reports elapsed time on standard error: in place on a terminal, which shows the oldest of concurrent calls, otherwise
 * a line every 30 s.
 */
export async function progress<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begun = Date.now();
  const seconds = () => `${Math.round((Date.now() - begun) / 1000)} s`;
  const terminal = process.stderr.isTTY;
  const say = (text: string) => process.stderr.write(terminal ? `\r\x1b[K${text}` : `${text}\n`);
  running.push(work);
  const report = (text: string) => {
    if (!terminal || running[0] === work) say(text);
  };
  report(`… ${what}`);
  const timer = setInterval(() => report(`… ${what}: ${seconds()}`), terminal ? 500 : 30_000);
  let mark = '✗';
  try {
    const result = await work();
    mark = '✓';
    return result;
  } finally {
    clearInterval(timer);
    running.splice(running.indexOf(work), 1);
    say(`${mark} ${what}: ${seconds()}${terminal ? '\n' : ''}`);
  }
}
