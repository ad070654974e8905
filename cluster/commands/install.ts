import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Argument, type Command } from 'commander';
import { ensureRelease, installerCommand, RELEASES, type ReleaseName } from '../node/installer.ts';
import { locked } from '../plan/lock.ts';
import { openRunning } from './command.ts';

export function addInstall(program: Command): void {
  program
    .command('install')
    .description("run the installer of gVisor on a node, with the installer's exit code")
    .argument('<node>')
    .addArgument(
      new Argument('<release>', 'as `--gvisor` has them, or one that cannot boot').choices(RELEASES),
    )
    .action(async (name: string, release: ReleaseName, _options: object, command: Command) => {
      const cluster = await openRunning(command);
      const node = cluster.node(name);
      const directory = await ensureRelease(release);
      const words = ['install', '--release', directory, '--retry-now'];
      const [installer, ...args] = await installerCommand(node, words);
      process.exitCode = await locked(cluster.name, async () => {
        const [code] = await once(spawn(installer, args, { stdio: 'inherit' }), 'close');
        return code ?? 1;
      });
    });
}
