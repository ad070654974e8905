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

/** The nodes of the cluster that gVisor is proven on. */
export const GVISOR_NODES: readonly string[] = ['node-1', 'node-2'];
const RUNTIME_CLASS = join(REPO, 'manifests/base/runtimeclass.yaml');

/** For the head of a test file: the cluster, calls of the dispatcher, and what its tests do before and after them. */
export function useDispatcher() {
  const cluster = useCluster();
  // The node without gVisor counts as settled, however young the cluster.
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
  /** Everything as the tests want to find it: the RuntimeClass, both nodes proven and schedulable. */
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
  /** For the head of a suite: its rights before it, and everything as it was after each test. */
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
