import type { Command } from 'commander';
import { clusterNames } from '../clusters.ts';
import { requireRoot } from '../machine/host-checks.ts';
import { removeCluster } from '../remove.ts';
import { nameOf } from './command.ts';

export function addDown(program: Command): void {
  program
    .command('down')
    .description('end a cluster and remove everything of it')
    .option('--all', 'all clusters of this machine')
    .action(async ({ all = false }: { all?: boolean }, command: Command) => {
      const name = nameOf(command);
      requireRoot();
      const there = clusterNames();
      for (const each of all ? there : [name]) {
        const begun = Date.now();
        await removeCluster(each);
        console.log(
          there.includes(each)
            ? `The cluster "${each}" is gone, ${((Date.now() - begun) / 1000).toFixed(1)} s.`
            : `There is no cluster "${each}": nothing to do.`,
        );
      }
      if (all && there.length === 0) console.log('There is no cluster: nothing to do.');
    });
}

export function addList(program: Command): void {
  program
    .command('list')
    .description('list the clusters of this machine')
    .action(() => {
      for (const name of clusterNames()) console.log(name);
    });
}
