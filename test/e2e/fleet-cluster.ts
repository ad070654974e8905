import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { waitFor } from '../../hack/run.ts';
import type { FleetView } from '../../lib/fleet/view.ts';
import {
  AT_ONCE,
  agentOn,
  applyOverlay,
  deployWith,
  getFromPod,
  waitForNode,
  waitForRollout,
} from './agents.ts';
import { GVISOR_NODES } from './e2e-cluster.ts';

const FLEET = ['deployment/gvisor-ready-fleet', '--namespace', 'gvisor-ready'] as const;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';

/**
 * Deploys agents, and the fleet controller on the node without gVisor, and waits until it runs. NODE_AGE defaults to 0,
 * because the nodes of a test are younger than five minutes.
 */
export async function deployFleet(
  cluster: Cluster,
  settings: Readonly<Record<string, string>> = {},
  components: readonly string[] = [],
): Promise<void> {
  await applyOverlay(cluster, components, AT_ONCE);
  await waitForRollout(cluster);
  const hostname = { 'kubernetes.io/hostname': 'node-3' };
  const env = Object.entries({ NODE_AGE: '0s', REPORT_INTERVAL: '5s', ...settings });
  const container = { name: 'fleet', env: env.map(([name, value]) => ({ name, value })) };
  const patch = { spec: { template: { spec: { nodeSelector: hostname, containers: [container] } } } };
  await cluster.kubectl(['patch', ...FLEET, '-p', JSON.stringify(patch)]);
  await scaleFleet(cluster, 1);
}

/** Deploys agents and the controller with timeouts that a test can wait for, until it may withdraw labels. */
export async function deployQuickFleet(cluster: Cluster): Promise<void> {
  const timeouts = { AGENT_TIMEOUT: '20s', CIRCUIT_BREAKER_WINDOW: '40s', RECOVERY_DELAY: '10s' };
  await deployFleet(cluster, timeouts);
  for (const node of GVISOR_NODES) await waitForNode(cluster, node, ({ ready }) => ready === 'true');
  await waitForBreaker(cluster);
}

/** Undoes {@link deployQuickFleet}: every node has its agent again, without a controller. */
export async function restoreAgents(cluster: Cluster): Promise<void> {
  await enableAgents(cluster, ...GVISOR_NODES);
  await removeFleet(cluster);
  await deployWith(cluster);
}

/** Scales the controller and waits for its pods. */
export async function scaleFleet(cluster: Cluster, replicas: number): Promise<void> {
  await cluster.kubectl(['scale', ...FLEET, `--replicas=${replicas}`]);
  await cluster.kubectl(['rollout', 'status', ...FLEET, '--timeout=270s'], undefined, 100_000);
  await waitFor(
    `${replicas} controllers`,
    60_000,
    async () => (await fleetPods(cluster)).length === replicas,
  );
}

export async function removeFleet(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', ...FLEET, '--ignore-not-found', '--wait']);
}

/** Name and address of each of the controller's pods. */
export async function fleetPods(cluster: Cluster) {
  const query = new URLSearchParams({ labelSelector: 'app.kubernetes.io/component=fleet' });
  const { items } = JSON.parse(await cluster.get(`${PODS}?${query}`)) as V1PodList;
  return items.map(({ metadata, status }) => ({
    name: metadata?.name ?? '',
    address: status?.podIP ?? '',
  }));
}

/** Requests a path of the controller over a port-forward. */
async function getFromFleet(cluster: Cluster, path: string): Promise<string> {
  const [pod] = await fleetPods(cluster);
  const { code, text } = await getFromPod(cluster, pod?.name ?? '', 9478, path);
  if (code === 200) return text;
  throw new Error(`The controller responds ${code} to ${path}: ${text.slice(0, 200)}`);
}

export async function readFleet(cluster: Cluster): Promise<FleetView> {
  return JSON.parse(await getFromFleet(cluster, '/fleet')) as FleetView;
}

/** Waits until the circuit breaker is closed. */
async function waitForBreaker(cluster: Cluster): Promise<void> {
  await waitFor('the circuit breaker to close', 60_000, async () => {
    const { breaker, upToDate } = await readFleet(cluster);
    return upToDate && breaker.length === 0;
  });
}

/** Removes the agents of these nodes, and their image so that they cannot return. */
export async function disableAgents(cluster: Cluster, ...nodes: readonly string[]): Promise<void> {
  const image = await ensureImage('agent');
  for (const name of nodes) await cluster.node(name).unload(image);
  for (const name of nodes) await deleteAgent(cluster, name);
}

/** Restores the agents of these nodes, without waiting for the kubelet's image pull backoff. */
export async function enableAgents(cluster: Cluster, ...nodes: readonly string[]): Promise<void> {
  const image = await ensureImage('agent');
  for (const name of nodes) await cluster.node(name).load(image);
  for (const name of nodes) if (!(await agentOn(cluster, name)).ready) await deleteAgent(cluster, name);
}

async function deleteAgent(cluster: Cluster, node: string): Promise<void> {
  const { name } = await agentOn(cluster, node);
  const force = ['--grace-period=0', '--force', '--ignore-not-found'];
  await cluster.kubectl(['delete', 'pod', '-n', 'gvisor-ready', name, ...force]);
}
