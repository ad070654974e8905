import type { Cluster } from '../../cluster/cluster.ts';
import { type ClusterNode, RUNSC, SHIM } from '../../cluster/node/node.ts';
import { evaluationStartMs, touch } from '../../cluster/node/outside-agent.ts';
import { waitFor } from '../../hack/run.ts';
import { agentOn, readReport } from './agents.ts';

const NAMESPACE = ['--namespace', 'gvisor-ready'] as const;

/** Deletes the agent's pod on a node, gracefully or by force, and waits until the next one is Ready. */
export async function replaceAgent(cluster: Cluster, node: string, by: 'graceful' | 'force'): Promise<void> {
  const { name } = await agentOn(cluster, node);
  const how = by === 'force' ? ['--grace-period=0', '--force'] : [];
  await cluster.kubectl(['delete', 'pod', ...NAMESPACE, name, '--wait=false', ...how]);
  await waitFor(`another agent on ${node}`, 60_000, async () => {
    const next = await agentOn(cluster, node);
    return next.name !== name && next.ready;
  });
}

/** Replaces runsc and its shim by rename, as an upgrade in place does. */
export async function upgradeInPlace({ machine }: ClusterNode): Promise<void> {
  for (const program of [SHIM, RUNSC])
    await machine.run(['sh', '-c', `cp ${program} ${program}.new && mv ${program}.new ${program}`]);
}

/** Touches a watched file, and waits for an evaluation with a proof that began after it. */
export async function provenAgain(cluster: Cluster, node: string): Promise<void> {
  const sinceMs = Date.now();
  await touch(cluster.node(node));
  await waitFor(`a proof of ${node}`, 60_000, async () => {
    const report = await readReport(cluster, node);
    return evaluationStartMs(report) >= sinceMs && report.proof.kind === 'proven';
  });
}

const FROZEN = '/run/frozen-stat';

/**
 * Freezes CPU times, so that a node appears idle to agents that start later. The machine is busy while it runs tests, and a
 * slow containerd is tolerated for ten minutes on a busy node.
 */
export async function hidePressure(node: ClusterNode): Promise<void> {
  await node.write(FROZEN, await node.system.run(['cat', '/proc/stat']));
  await node.system.run(['mount', '--bind', FROZEN, '/proc/stat']);
}

/** Undoes {@link hidePressure}. */
export async function showPressure(node: ClusterNode): Promise<void> {
  await node.system.run(['umount', '/proc/stat']);
}
