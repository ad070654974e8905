import { join } from 'node:path';
import { afterEach } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import { REPO } from '../../hack/paths.ts';
import { waitForNode } from './agents.ts';
import { type DispatcherCall, dispatch, FREE, grantDispatcher, removeDispatcher } from './dispatcher-run.ts';
import { GVISOR_NODES, useCluster } from './e2e-cluster.ts';

const RUNTIME_CLASS = join(REPO, 'manifests/base/runtimeclass.yaml');

/**
 * Registers hooks that open the cluster, grant the dispatcher its rights, and restore both after each test. Returns the
 * cluster with functions for tests of the dispatcher.
 */
export function useDispatcher() {
  const cluster = useCluster(async (opened) => {
    await grantDispatcher(opened);
    await healAll(opened);
  }, removeDispatcher);
  afterEach(async () => {
    await healAll(cluster()); // first, because a stopped kubelet deletes no pod
    await kubectl('delete', 'pod', '--all', '-n', FREE, '--wait');
  });
  // A new node without gVisor must not count as being installed.
  const call = (one: DispatcherCall) =>
    dispatch(cluster(), { ...one, options: ['--install-grace', '1', ...(one.options ?? [])] });
  const kubectl = (...args: string[]) => cluster().kubectl(args);
  /** /proc/version inside a pod. */
  const kernelIn = async (pod: string) =>
    (await kubectl('exec', '-n', FREE, pod, '--', 'cat', '/proc/version')).trim();
  return { cluster, call, kubectl, kernelIn };
}

/** Restores the RuntimeClass, and waits until both nodes are proven and schedulable. */
async function healAll(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-f', RUNTIME_CLASS]);
  await cluster.kubectl(['uncordon', ...GVISOR_NODES]);
  await Promise.all(GVISOR_NODES.map((node) => healNode(cluster, cluster.node(node))));
  for (const node of GVISOR_NODES) await waitForNode(cluster, node, ({ ready }) => ready === 'true', 90_000);
}
