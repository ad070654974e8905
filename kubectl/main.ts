import { createInterface } from 'node:readline/promises';
import { runPlugin } from './command-line.ts';

const { stdin, stdout, stderr } = process;

void main();

/** Connects the plugin to the process: arguments, terminal, signals, exit code. */
async function main(): Promise<void> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  // The reader of a pipe may close it early, as `head` does.
  stdout.on('error', () => process.exit());
  const interactive = stdin.isTTY && stdout.isTTY;
  process.exitCode = await runPlugin(process.argv.slice(2), {
    env: process.env,
    output: {
      width: stdout.isTTY ? stdout.columns : Number.POSITIVE_INFINITY,
      colored: stdout.isTTY && stdout.hasColors(),
      out: (text) => stdout.write(text),
      err: (text) => stderr.write(text),
    },
    now: Date.now,
    signal: stop.signal,
    ...(interactive ? { confirm: (prompt: string) => confirm(prompt, stop.signal) } : {}),
  });
}

async function confirm(prompt: string, signal: AbortSignal): Promise<boolean> {
  const lines = createInterface({ input: stdin, output: stdout });
  try {
    return /^y(es)?$/i.test((await lines.question(prompt, { signal })).trim());
  } finally {
    lines.close();
  }
}
