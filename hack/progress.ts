/** The work that is being done, what began first before others. */
const running: (() => Promise<unknown>)[] = [];

/**
 * Does something long and says so on standard error: what it is, the passing seconds (on a terminal
 * in place, else a line every 30 s), and at the end how long it took. Of things done at once a terminal shows the one
 * that began first.
 */
export async function progress<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begun = Date.now();
  const seconds = () => `${Math.round((Date.now() - begun) / 1000)} s`;
  const terminal = process.stderr.isTTY;
  const say = (text: string) => process.stderr.write(terminal ? `\r\x1b[K${text}` : `${text}\n`);
  running.push(work);
  const tell = (text: string) => {
    if (!terminal || running[0] === work) say(text);
  };
  tell(`… ${what}`);
  const timer = setInterval(() => tell(`… ${what}: ${seconds()}`), terminal ? 500 : 30_000);
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
