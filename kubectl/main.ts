import { createInterface } from 'node:readline/promises';
import { runPlugin } from './command-line.ts';

const { stdin, stdout, stderr } = process;

void main();

/** Hands the process to the plugin: its words, its terminal, its signals, its exit code. */
async function main(): Promise<void> {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  // Where the reader of a pipe has gone, as `head` does, nothing is left to say.
  stdout.on('error', () => process.exit());
  const people = stdin.isTTY && stdout.isTTY;
  process.exitCode = await runPlugin(process.argv.slice(2), {
    env: process.env,
    screen: {
      columns: stdout.isTTY ? stdout.columns : Number.POSITIVE_INFINITY,
      colored: stdout.isTTY && stdout.hasColors(),
      out: (text) => stdout.write(text),
      err: (text) => stderr.write(text),
    },
    now: Date.now,
    signal: stop.signal,
    ...(people ? { ask: (question: string) => ask(question, stop.signal) } : {}),
  });
}

async function ask(question: string, signal: AbortSignal): Promise<boolean> {
  const lines = createInterface({ input: stdin, output: stdout });
  try {
    return /^y(es)?$/i.test((await lines.question(question, { signal })).trim());
  } finally {
    lines.close();
  }
}
