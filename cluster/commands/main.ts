import { Command } from 'commander';
import { runMain } from '../../hack/run.ts';
import { addDown } from './down.ts';
import { addBreak, addFaults, addHeal } from './faults.ts';
import { addInstall } from './install.ts';
import { addKubectl } from './kubectl.ts';
import { addLogs } from './logs.ts';
import { addLoad, addNode } from './nodes.ts';
import { addStatus } from './status.ts';
import { addUp } from './up.ts';

const COMMANDS = [
  addUp,
  addStatus,
  addKubectl,
  addNode,
  addInstall,
  addFaults,
  addBreak,
  addHeal,
  addLogs,
  addLoad,
  addDown,
];
const NAME = ['--name <cluster>', 'name of the cluster, by default dev'] as const;

/** --name may precede a command or be among its options. */
function programOf(): Command {
  const program = new Command('npm run cluster --')
    .description('A real Kubernetes cluster on this machine, with containerd and gVisor on its nodes.')
    .option(...NAME)
    .enablePositionalOptions() // all options after `kubectl` belong to kubectl
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replace(/\s+/g, ' ')}\n`) })
    .addHelpText('after', '\nWith DEBUG=1 an error comes with its stack.')
    .helpCommand(false);
  for (const add of COMMANDS) add(program);
  for (const command of program.commands) if (command.name() !== 'kubectl') command.option(...NAME);
  return program;
}

await runMain(async () => void (await programOf().parseAsync()));
