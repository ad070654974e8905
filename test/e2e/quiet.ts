import type { ClusterNode } from '../../cluster/node/node.ts';

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
