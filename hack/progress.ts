/** Reports on standard error: when the work begins, every 30 s, and how it ended. */
export async function progress<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begun = Date.now();
  const say = (mark: string) =>
    console.error(`${mark} ${what}: ${Math.round((Date.now() - begun) / 1000)} s`);
  console.error(`… ${what}`);
  const timer = setInterval(() => say('…'), 30_000);
  let mark = '✗';
  try {
    const result = await work();
    mark = '✓';
    return result;
  } finally {
    clearInterval(timer);
    say(mark);
  }
}
