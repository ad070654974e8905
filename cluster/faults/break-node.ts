import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../hack/unfinished.ts';
import type { Cluster } from '../cluster.ts';
import { secondsUntilLabel } from '../labels.ts';
import type { ClusterNode } from '../node/node.ts';
import type { FaultName } from './fault-texts.ts';
import { FAULTS, type Fault } from './faults.ts';
import { type Part, REPAIRS } from './repair.ts';

/** Oldest first. */
export async function faultsOf(node: ClusterNode, cluster: Cluster): Promise<readonly FaultName[]> {
  const recorded = (await readRecord(node)).filter((name) => name !== 'api-down');
  const holding: FaultName[] = [];
  for (const name of [...recorded, 'api-down'] as const) {
    const { holds }: Fault = FAULTS[name];
    if ((await holds?.(node, cluster)) ?? true) holding.push(name);
  }
  return holding;
}

/** Replaces another fault of the same part. Idempotent. */
export async function breakNode(cluster: Cluster, node: ClusterNode, name: FaultName): Promise<void> {
  const { part, apply }: Fault = FAULTS[name];
  const before = await readRecord(node);
  const others = before.filter((other) => FAULTS[other].part !== part);
  await writeRecord(node, [...others, name]); // first, so that a fault can be healed after a kill
  try {
    await apply(node, cluster);
  } catch (error) {
    await writeRecord(node, before);
    throw error;
  }
}

/** Heals one fault, or restores every part of the node. */
export async function healNode(cluster: Cluster, node: ClusterNode, name?: FaultName): Promise<void> {
  const parts = name === undefined ? (Object.keys(REPAIRS) as Part[]) : [FAULTS[name].part];
  for (const part of parts) {
    await REPAIRS[part](node, cluster);
    const left = (await readRecord(node)).filter((other) => FAULTS[other].part !== part);
    await writeRecord(node, left);
    // A handler healed while containerd was stopped is not loaded yet.
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

/** Seconds until the label is false. */
export function breakAndWait(cluster: Cluster, node: string, fault: FaultName): Promise<number> {
  return secondsUntilLabel(cluster, node, 'false', () => breakNode(cluster, cluster.node(node), fault));
}

/** Seconds until the label is back. */
export function healAndWait(cluster: Cluster, node: string, fault?: FaultName): Promise<number> {
  return secondsUntilLabel(cluster, node, 'true', () => healNode(cluster, cluster.node(node), fault));
}
