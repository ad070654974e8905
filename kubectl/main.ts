import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { runPlugin } from './command-line.ts';

const { stdin, stdout, stderr } = process;

void main();

async function main(): Promise<void> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  // The reader of a pipe may close it early, as `head` does.
  stdout.on('error', () => process.exit());
  const interactive = stdin.isTTY && stdout.isTTY;
  process.exitCode = await runPlugin(process.argv.slice(2), {
    env: process.env,
    output: {
      // A terminal without a size reports 0 columns.
      width: (stdout.isTTY && stdout.columns) || Number.POSITIVE_INFINITY,
      colored: stdout.isTTY && stdout.hasColors(),
      out: (text) => stdout.write(text),
      err: (text) => stderr.write(text),
      ...(process.env.GVISOR_READY_REPOSITORY ? { repository: process.env.GVISOR_READY_REPOSITORY } : {}),
    },
    now: Date.now,
    signal: stop.signal,
    ...(interactive ? { confirm: (prompt: string) => confirm(prompt, stop) } : {}),
  });
}

async function confirm(prompt: string, stop: AbortController): Promise<boolean> {
  const lines = createInterface({ input: stdin, output: stdout });
  // The terminal is in raw mode during a question, so Ctrl-C sends no signal.
  lines.on('SIGINT', () => stop.abort());
  // Ctrl-D is a no; newer versions of Node reject the question.
  const closed = once(lines, 'close').then(() => '');
  try {
    const answer = await Promise.race([lines.question(prompt, { signal: stop.signal }), closed]);
    return /^y(es)?$/i.test(answer.trim());
  } catch {
    stop.signal.throwIfAborted();
    return false;
  } finally {
    lines.close();
  }
}
