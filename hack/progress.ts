/**
 * Does something long and says so on standard error: what it is, the passing seconds (on a terminal
 * in place, else a line every 30 s), and at the end how long it took.
 */
export async function progress<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begun = Date.now();
  const seconds = () => `${Math.round((Date.now() - begun) / 1000)} s`;
  const terminal = process.stderr.isTTY;
  const say = (text: string) => process.stderr.write(terminal ? `\r\x1b[K${text}` : `${text}\n`);
  say(`… ${what}`);
  const timer = setInterval(() => say(`… ${what}: ${seconds()}`), terminal ? 500 : 30_000);
  let mark = '✗';
  try {
    const result = await work();
    mark = '✓';
    return result;
  } finally {
    clearInterval(timer);
    say(`${mark} ${what}: ${seconds()}${terminal ? '\n' : ''}`);
  }
}
