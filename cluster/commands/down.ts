import { requireName, requireRoot } from '../machine/host-checks.ts';
import { clusterNames, removeCluster } from '../remove.ts';
import type { Command } from './command.ts';

/** `down`: ends clusters and removes what they left. */
export const down: Command = {
  flags: '[--all]',
  does: 'ends a cluster, or all of this machine, and removes everything of it',
  options: { all: { type: 'boolean' } },
  run: async ({ name, values }) => {
    requireName(name);
    requireRoot();
    const there = clusterNames();
    for (const each of values.all ? there : [name]) {
      const begun = Date.now();
      await removeCluster(each);
      console.log(
        there.includes(each)
          ? `The cluster "${each}" is gone, ${((Date.now() - begun) / 1000).toFixed(1)} s.`
          : `There is no cluster "${each}": nothing to do.`,
      );
    }
    if (values.all && there.length === 0) console.log('There is no cluster: nothing to do.');
    return undefined;
  },
};

/** `list`: the clusters of this machine. */
export const list: Command = {
  does: 'lists the clusters of this machine',
  run: () => {
    for (const name of clusterNames()) console.log(name);
    return undefined;
  },
};
