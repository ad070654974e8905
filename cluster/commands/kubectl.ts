import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ensureTools } from '../tools.ts';
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
      const { kubernetes } = await ensureTools(['kubernetes']);
      const env = { ...process.env, KUBECONFIG: cluster.kubeconfig };
      process.on('SIGINT', () => {}); // kubectl receives it from the terminal as well
      const child = spawn(join(kubernetes, 'kubectl'), words, { stdio: 'inherit', env });
      const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
      process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
    });
}
