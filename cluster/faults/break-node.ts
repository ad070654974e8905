import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../cluster.ts';
import type { ClusterNode } from '../node/node.ts';
import { replaceFile } from '../replace-file.ts';
import { FAULTS, type Fault, type FaultName } from './faults.ts';
import { type Part, REPAIRS } from './repair.ts';

/** The faults now in force on a node, in the order they came. */
export async function faultsOf(node: ClusterNode, cluster: Cluster): Promise<readonly FaultName[]> {
  const recorded = (await readRecord(node)).filter((name) => name !== 'api-down');
  const holding: FaultName[] = [];
  for (const name of [...recorded, 'api-down'] as const) {
    const { holds }: Fault = FAULTS[name];
    if ((await holds?.(node, cluster)) ?? true) holding.push(name);
  }
  return holding;
}

/** Brings a fault onto a node; another fault of the same part gives way to it. Harmless when it is in force. */
export async function breakNode(cluster: Cluster, node: ClusterNode, name: FaultName): Promise<void> {
  const { part, apply }: Fault = FAULTS[name];
  const before = await readRecord(node);
  const others = before.filter((other) => FAULTS[other].part !== part);
  await writeRecord(node, [...others, name]); // first: what a kill leaves half done can then be healed
  try {
    await apply(node, cluster);
  } catch (error) {
    await writeRecord(node, before);
    throw error;
  }
}

/** Heals one fault of a node, or brings every part of the node into its known good state. */
export async function healNode(cluster: Cluster, node: ClusterNode, name?: FaultName): Promise<void> {
  const parts = name === undefined ? (Object.keys(REPAIRS) as Part[]) : [FAULTS[name].part];
  for (const part of parts) {
    await REPAIRS[part](node, cluster);
    const left = (await readRecord(node)).filter((other) => FAULTS[other].part !== part);
    await writeRecord(node, left);
    // A handler that was healed while containerd hung has yet to be loaded.
    if (part === 'containerd' && !left.some((other) => FAULTS[other].part === 'handler')) {
      await REPAIRS.handler(node);
    }
  }
}

function recordOf(node: ClusterNode): string {
  return join(node.machine.dir, 'faults.json');
}

async function readRecord(node: ClusterNode): Promise<readonly FaultName[]> {
  if (!existsSync(recordOf(node))) return [];
  return JSON.parse(await readFile(recordOf(node), 'utf8')) as FaultName[];
}

async function writeRecord(node: ClusterNode, names: readonly FaultName[]): Promise<void> {
  await replaceFile(recordOf(node), JSON.stringify(names));
}
