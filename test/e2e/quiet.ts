import type { ClusterNode } from '../../cluster/node/node.ts';

const FROZEN = '/run/frozen-stat';

/**
 * Makes a node look idle to agents that start from now on, by CPU times that stand still: this machine is always busy
 * while it runs tests, and a containerd that answers late on a busy node is tolerated for ten minutes.
 */
export async function hidePressure(node: ClusterNode): Promise<void> {
  await node.write(FROZEN, await node.system.run(['cat', '/proc/stat']));
  await node.system.run(['mount', '--bind', FROZEN, '/proc/stat']);
}

/** Undoes {@link hidePressure}. */
export async function showPressure(node: ClusterNode): Promise<void> {
  await node.system.run(['umount', '/proc/stat']);
}
