import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import type { Command } from 'commander';
import { openRunning } from './command.ts';

export function addKubectl(program: Command): void {
  program
    .command('kubectl')
    .description('run kubectl against the cluster, with all that follows')
    .argument('[words...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: readonly string[], _options: object, command: Command) => {
      const cluster = await openRunning(command);
      const env = { ...process.env, KUBECONFIG: cluster.kubeconfig };
      process.on('SIGINT', () => {}); // kubectl receives it from the terminal as well
      const child = spawn(cluster.kubectlCommand([]).command, words, { stdio: 'inherit', env });
      const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
      process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
    });
}
