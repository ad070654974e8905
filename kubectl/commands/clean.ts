import { InvalidArgumentError } from 'commander';
import { firstOf } from '../../lib/fleet/objects.ts';
import type { NodeObject } from '../../lib/report/node-object.ts';
import { type Api, optional } from '../api/api.ts';
import { type Context, EXIT } from '../api/context.ts';
import { nodesWithAgents } from '../cluster/agent-reports.ts';
import {
  type FoundNodes,
  findMarked,
  isMarked,
  type RemovalOptions,
  removeMarks,
} from '../cluster/node-marks.ts';
import { printMessage } from '../text/output.ts';

/**
 * `clean`: for nodes that are no longer in the DaemonSet. Refuses all if an agent is on one, even one that
 * terminates: it may write again.
 */
export async function clean(
  context: Context,
  { names, selector }: { readonly names: readonly string[]; readonly selector?: string },
  options: RemovalOptions,
): Promise<number> {
  const { api, output } = context;
  if ((names.length === 0) === (selector === undefined))
    throw new InvalidArgumentError('Name the nodes, or select them with -l, and not both');
  const [found, occupied] = await Promise.all([
    selector === undefined ? findNamed(api, names) : findMarked(api, selector),
    nodesWithAgents(api),
  ]);
  const chosen = new Set([...names, ...found.marked.map(({ metadata }) => metadata.name)]);
  const busy = [...chosen].filter((name) => occupied.has(name));
  if (busy.length > 0) {
    printMessage(
      output,
      `An agent is still on ${firstOf(busy)} and would write again, so nothing was written. First take ${busy.length === 1 ? 'it' : 'them'} out of the DaemonSet, by its nodeSelector or affinity, and wait until the pod is gone.`,
    );
    return EXIT.problem;
  }
  return removeMarks(context, found, {
    ...options,
    remedy: 'take it out of the DaemonSet, then run this again',
  });
}

async function findNamed(api: Api, names: readonly string[]): Promise<FoundNodes> {
  const found = await Promise.all(
    [...new Set(names)].map(async (name) => {
      const node = await optional(api.get<NodeObject>(`/api/v1/nodes/${name}`));
      if (node === undefined) throw new Error(`There is no node "${name}", so nothing was written`);
      return node;
    }),
  );
  return { total: found.length, marked: found.filter(isMarked) };
}
