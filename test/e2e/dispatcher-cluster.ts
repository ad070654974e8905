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
import { useCluster } from './e2e-cluster.ts';

/** The nodes with gVisor. */
export const GVISOR_NODES: readonly string[] = ['node-1', 'node-2'];
const RUNTIME_CLASS = join(REPO, 'manifests/base/runtimeclass.yaml');

/** Registers the hooks of a test of the dispatcher, and returns the cluster and ways to call it. */
export function useDispatcher() {
  const cluster = useCluster();
  // A young node without gVisor must not count as one that is being installed.
  const call = (one: DispatcherCall) =>
    dispatch(cluster(), { ...one, options: ['--install-grace', '1', ...(one.options ?? [])] });
  const kubectl = (...args: string[]) => cluster().kubectl(args);
  /** The kernel that a pod sees. */
  const kernelIn = async (pod: string) =>
    (await kubectl('exec', '-n', FREE, pod, '--', 'cat', '/proc/version')).trim();
  /** Deletes every pod in the namespaces of the tests, and waits until they are gone. */
  const deletePods = async () => {
    for (const namespace of [FREE, REQUIRING])
      await kubectl('delete', 'pod', '--all', '-n', namespace, '--wait');
  };
  /** Restores the RuntimeClass, and waits until both nodes are proven and schedulable. */
  const healed = async () => {
    await kubectl('apply', '-f', RUNTIME_CLASS);
    await kubectl('uncordon', ...GVISOR_NODES);
    await Promise.all(GVISOR_NODES.map((node) => healNode(cluster(), cluster().node(node))));
    let seen = '';
    await waitFor('both nodes to be proven', 90_000, async () => {
      const nodes = (await viewNodes(cluster())).filter(({ name }) => GVISOR_NODES.includes(name));
      seen = nodes.map(({ name, ready, message }) => `${name} ${ready} ${message}`).join('\n');
      return nodes.every(({ ready }) => ready === 'true') ? true : undefined;
    }).catch((cause) => {
      throw new Error(`${cause.message}\n${seen}`, { cause });
    });
  };
  /** Registers hooks that grant rights before the suite and restore the cluster after each test. */
  const keepTidy = () => {
    before(async () => {
      await grantDispatcher(cluster());
      await healed();
    });
    afterEach(async () => {
      await deletePods();
      await healed();
    });
    after(() => removeDispatcher(cluster()));
  };
  return { cluster, call, kubectl, kernelIn, deletePods, healed, keepTidy };
}
