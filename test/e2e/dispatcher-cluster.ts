import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';
import { healNode } from '../../cluster/faults/break-node.ts';
import { viewNodes } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import {
  type DispatcherCall,
  dispatch,
  FREE,
  grantDispatcher,
  REQUIRING,
  removeDispatcher,
} from './dispatcher-run.ts';
import { GVISOR_NODES, useCluster } from './e2e-cluster.ts';

const RUNTIME_CLASS = join(REPO, 'manifests/base/runtimeclass.yaml');

/** Registers hooks that open the cluster; returns it with functions for tests of the dispatcher. */
export function useDispatcher() {
  const cluster = useCluster();
  // A new node without gVisor must not count as being installed.
  const call = (one: DispatcherCall) =>
    dispatch(cluster(), { ...one, options: ['--install-grace', '1', ...(one.options ?? [])] });
  const kubectl = (...args: string[]) => cluster().kubectl(args);
  /** /proc/version inside a pod. */
  const kernelIn = async (pod: string) =>
    (await kubectl('exec', '-n', FREE, pod, '--', 'cat', '/proc/version')).trim();
  /** Deletes every pod in the namespaces of the tests. */
  const deletePods = async () => {
    for (const namespace of [FREE, REQUIRING])
      await kubectl('delete', 'pod', '--all', '-n', namespace, '--wait');
  };
  /** Restores the RuntimeClass, and waits until both nodes are proven and schedulable. */
  const healAll = async () => {
    await kubectl('apply', '-f', RUNTIME_CLASS);
    await kubectl('uncordon', ...GVISOR_NODES);
    await Promise.all(GVISOR_NODES.map((node) => healNode(cluster(), cluster().node(node))));
    let states = '';
    await waitFor('both nodes to be proven', 90_000, async () => {
      const nodes = (await viewNodes(cluster())).filter(({ name }) =>
        GVISOR_NODES.some((node) => node === name),
      );
      states = nodes.map(({ name, ready, message }) => `${name} ${ready} ${message}`).join('\n');
      return nodes.every(({ ready }) => ready === 'true');
    }).catch((cause) => {
      throw new Error(`${cause.message}\n${states}`, { cause });
    });
  };
  /** Registers hooks that grant rights before the suite and restore the cluster after each test. */
  const registerHooks = () => {
    before(async () => {
      await grantDispatcher(cluster());
      await healAll();
    });
    afterEach(async () => {
      await deletePods();
      await healAll();
    });
    after(() => removeDispatcher(cluster()));
  };
  return { cluster, call, kubectl, kernelIn, deletePods, healAll, registerHooks };
}
