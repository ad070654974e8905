import type { Command } from 'commander';
import { requireRoot } from '../machine/host-checks.ts';
import { clusterNames } from '../plan/clusters.ts';
import { removeCluster } from '../remove.ts';
import { nameOf } from './command.ts';

export function addDown(program: Command): void {
  program
    .command('down')
    .description('end a cluster and remove everything of it')
    .action(async (_options: object, command: Command) => {
      const name = nameOf(command);
      requireRoot();
      const wasThere = clusterNames().includes(name);
      const begun = Date.now();
      await removeCluster(name);
      console.log(
        wasThere
          ? `The cluster "${name}" is gone, ${((Date.now() - begun) / 1000).toFixed(1)} s.`
          : `There is no cluster "${name}": nothing to do.`,
      );
    });
}
