import { errorLine } from '../agent/host/error-line.ts';
import { UsageError } from '../hack/run.ts';
import { type Command, DEFAULT_NAME, npm, readCall, usageOf } from './commands/command.ts';
import { down, list } from './commands/down.ts';
import { breakCommand, faults, heal } from './commands/faults.ts';
import { kubectl } from './commands/kubectl.ts';
import { load, logs, node, restart } from './commands/nodes.ts';
import { status } from './commands/status.ts';
import { up } from './commands/up.ts';
import { unknownWord } from './nearest.ts';

const COMMANDS: Readonly<Record<string, Command>> = {
  up,
  status,
  kubectl,
  node,
  faults,
  break: breakCommand,
  heal,
  restart,
  logs,
  load,
  list,
  down,
};

function help(words: readonly (readonly [string, Command])[] = Object.entries(COMMANDS)): string {
  const lines = words.map(([word, command]) => {
    const typed = `  ${usageOf(word, command)}`;
    return typed.length > 34
      ? `${typed}\n${''.padEnd(36)}${command.does}`
      : `${typed.padEnd(36)}${command.does}`;
  });
  return `A real Kubernetes cluster on this machine, with containerd and gVisor on its nodes.
usage: npm run cluster -- [--name NAME] COMMAND …   (NAME: ${DEFAULT_NAME} unless given; DEBUG=1 shows stacks)

${lines.join('\n')}`;
}

/** Runs the command line and gives its exit code. */
async function main(argv: readonly string[]): Promise<number> {
  let words = argv;
  let name: string | undefined;
  while (words[0] === '--name' || words[0]?.startsWith('--name=')) {
    const [first = '', second] = words;
    name = first === '--name' ? second : first.slice('--name='.length);
    if (!name) throw new UsageError('--name needs the name of a cluster.');
    words = words.slice(first === '--name' ? 2 : 1);
  }
  const [word, ...rest] = words;
  if (word === undefined || word === '--help' || word === '-h' || word === 'help') {
    console.log(help());
    return word === undefined ? 2 : 0;
  }
  const command = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  if (command === undefined) {
    throw unknownWord(word.startsWith('-') ? 'option before the command' : 'command', word, [
      ...(word.startsWith('-') ? ['--name', '--help'] : Object.keys(COMMANDS)),
    ]);
  }
  const call = readCall(word, command, rest, name);
  if (call.values.help) {
    console.log(help([[word, command]]));
    return 0;
  }
  if (word === 'up') {
    process.once('SIGINT', () => {
      process.stderr.write(
        `\nStopped. \`${npm(call.name, 'up')}\` goes on, \`${npm(call.name, 'down')}\` clears up.\n`,
      );
      process.exit(130);
    });
  }
  return (await command.run(call)) ?? 0;
}

/** The exit code for an error, after its one line (with DEBUG, its stack) is on standard error. */
function report(error: unknown): number {
  const full = isDiskFull(error);
  const line = full
    ? `The disk is full: free some space and run the same command again (${errorLine(error)}).`
    : errorLine(error);
  process.stderr.write(`${error instanceof UsageError ? error.message : line}\n`);
  if (process.env.DEBUG) console.error(error);
  return error instanceof UsageError || full ? 2 : 1;
}

function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    (error as NodeJS.ErrnoException).code === 'ENOSPC' ||
    /no space left on device/i.test(error.message) ||
    isDiskFull(error.cause)
  );
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
