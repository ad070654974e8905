import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../hack/run.ts';
import { Cluster } from '../cluster.ts';
import { controlPlaneOf } from '../control-plane/control-plane.ts';
import { requireRoot } from '../machine/host-checks.ts';
import { CLUSTERS, clusterNames, requireName } from '../plan/clusters.ts';

const DEFAULT_NAME = 'dev';

/** The option may be before or after the command. */
export function nameOf(command: Command): string {
  const { name = DEFAULT_NAME } = command.optsWithGlobals<{ name?: string }>();
  requireName(name);
  return name;
}

/** The cluster that the command names. Throws a UsageError that says how to start it. */
export async function openRunning(command: Command): Promise<Cluster> {
  const name = nameOf(command);
  requireRoot();
  const there = clusterNames();
  if (there.includes(name) && controlPlaneOf(join(CLUSTERS, name)).pid() !== undefined)
    return Cluster.open(name);
  const others = there.filter((other) => other !== name);
  const known = others.length > 0 ? ` There is: ${others.join(', ')}.` : '';
  throw new UsageError(`The cluster "${name}" is not up: start it with \`${npm(name, 'up')}\`.${known}`);
}

export function npm(name: string, words: string): string {
  return `npm run cluster -- ${name === DEFAULT_NAME ? '' : `--name ${name} `}${words}`;
}
