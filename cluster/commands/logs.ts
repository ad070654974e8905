import { existsSync, globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../hack/run.ts';
import { requireRoot } from '../machine/host-checks.ts';
import { DAEMONS } from '../node/system.ts';
import { CLUSTERS } from '../plan/clusters.ts';
import { readNodes } from '../plan/nodes.ts';
import { nameOf, npm, openRunning } from './command.ts';

/** Files outlive a machine, and the cluster need not run. */
export function addLogs(program: Command): void {
  program
    .command('logs')
    .description("print the log of a node's daemon, of its init, or of one of the control plane's")
    .argument('<node>', 'a node, or control-plane')
    .argument('[daemon]')
    .action(async (node: string, word: string | undefined, _options: object, command: Command) => {
      const name = nameOf(command);
      requireRoot();
      const dir = join(CLUSTERS, name);
      const isControlPlane = node === 'control-plane';
      const directory = isControlPlane ? join(dir, node) : join(dir, 'nodes', node);
      if (!existsSync(directory))
        throw new UsageError(`There is no node "${node}": see \`${npm(name, 'status')}\`.`);
      const daemon = word ?? (isControlPlane ? 'kube-apiserver' : 'containerd');
      const isVm = readNodes(dir).find((spec) => spec.name === node)?.machine === 'vm';
      if (isVm && DAEMONS.some((each) => each === daemon)) {
        const { system } = (await openRunning(command)).node(node);
        const journal = ['journalctl', '--no-pager', '-o', 'short-iso', '-u', daemon];
        process.stdout.write(await system.run(journal, { timeoutMs: 5 * 60_000 }));
        return;
      }
      const logs = globSync('*.log', { cwd: directory }).map((file) => basename(file, '.log'));
      if (!logs.includes(daemon))
        throw new UsageError(`There is no log "${daemon}". There is: ${logs.join(', ')}.`);
      process.stdout.write(await readFile(join(directory, `${daemon}.log`)));
    });
}
