import { Command, CommanderError } from 'commander';
import { UsageError } from '../hack/run.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { addDown, addList } from './commands/down.ts';
import { addBreak, addFaults, addHeal } from './commands/faults.ts';
import { addInstall } from './commands/install.ts';
import { addKubectl } from './commands/kubectl.ts';
import { addLogs } from './commands/logs.ts';
import { addLoad, addNode, addRestart } from './commands/nodes.ts';
import { addStatus } from './commands/status.ts';
import { addUp } from './commands/up.ts';

const COMMANDS = [
  addUp,
  addStatus,
  addKubectl,
  addNode,
  addInstall,
  addFaults,
  addBreak,
  addHeal,
  addRestart,
  addLogs,
  addLoad,
  addList,
  addDown,
];
const NAME = ['--name <cluster>', 'name of the cluster, by default dev'] as const;

/** --name may precede a command or be among its options. */
function programOf(): Command {
  const program = new Command('npm run cluster --')
    .description('A real Kubernetes cluster on this machine, with containerd and gVisor on its nodes.')
    .option(...NAME)
    .enablePositionalOptions() // all options after `kubectl` belong to kubectl
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replace(/\s+/g, ' ')}\n`) })
    .addHelpText('after', '\nWith DEBUG=1 an error comes with its stack.')
    .helpCommand(false);
  for (const add of COMMANDS) add(program);
  for (const command of program.commands) if (command.name() !== 'kubectl') command.option(...NAME);
  return program;
}

/** One line, with DEBUG the stack; returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has printed why
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
  await programOf().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
