import type { Cluster } from '../../cluster/cluster.ts';
import { ensureImage } from '../../cluster/images.ts';
import type { FleetView } from '../../fleet/view.ts';
import { waitFor } from '../../hack/run.ts';
import { AT_ONCE, agentOn, applyOverlay, askForwarded, readNode, saidOf, waitForRollout } from './agents.ts';

const FLEET = ['deployment/gvisor-ready-fleet', '--namespace', 'gvisor-ready'] as const;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';

/** The nodes of the cluster that have gVisor. */
export const GVISOR_NODES = ['node-1', 'node-2'] as const;

/**
 * Deploys agents and the fleet controller, which is kept on the node without gVisor, and waits until it sees them all.
 * The nodes of a test are younger than five minutes, so that NODE_AGE is 0 by default.
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

/** Lets so many controllers run, and waits until they do. */
export async function scaleFleet(cluster: Cluster, replicas: number): Promise<void> {
  await cluster.kubectl(['scale', ...FLEET, `--replicas=${replicas}`]);
  await cluster.kubectl(['rollout', 'status', ...FLEET, '--timeout=270s'], undefined, 100_000);
  await waitFor(`${replicas} controllers`, 60_000, async () =>
    (await fleetPods(cluster)).length === replicas ? true : undefined,
  );
}

/** Removes the controller. */
export async function removeFleet(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', ...FLEET, '--ignore-not-found', '--wait']);
}

async function fleetPods(cluster: Cluster): Promise<readonly string[]> {
  const query = new URLSearchParams({ labelSelector: 'app.kubernetes.io/component=fleet' });
  const { items } = JSON.parse(await cluster.get(`${PODS}?${query}`)) as {
    items: { metadata: { name: string } }[];
  };
  return items.map(({ metadata }) => metadata.name);
}

/** What the first controller answers to a path over a port-forward. */
export async function askFleet(cluster: Cluster, path: string): Promise<string> {
  const [pod = ''] = await fleetPods(cluster);
  const { code, text } = await askForwarded(cluster, pod, 9478, path);
  if (code === 200) return text;
  throw new Error(`The controller answers ${code} to ${path}: ${text.slice(0, 200)}`);
}

/** The fleet as the first controller shows it. */
export async function readFleet(cluster: Cluster): Promise<FleetView> {
  return JSON.parse(await askFleet(cluster, '/fleet')) as FleetView;
}

/** Waits until the circuit breaker is open for this reason; without one, until it is closed. */
export async function waitForBreaker(cluster: Cluster, reason?: string, timeoutMs = 60_000): Promise<void> {
  await waitFor(`the circuit breaker (${reason ?? 'closed'})`, timeoutMs, async () => {
    const { breaker, upToDate } = await readFleet(cluster);
    const reasons = breaker.map((each) => each.reason as string);
    return upToDate && (reason === undefined ? reasons.length === 0 : reasons.includes(reason))
      ? true
      : undefined;
  });
}

/** Takes the agents of these nodes away so that they cannot return: their image is gone. */
export async function keepAgentsAway(cluster: Cluster, ...nodes: readonly string[]): Promise<void> {
  const image = await ensureImage('agent');
  for (const name of nodes) await cluster.node(name).unload(image);
  for (const name of nodes) await deleteAgent(cluster, name);
}

/** Lets the agents of these nodes return, without the pauses that the kubelet makes between pulls. */
export async function letAgentsReturn(cluster: Cluster, ...nodes: readonly string[]): Promise<void> {
  const image = await ensureImage('agent');
  for (const name of nodes) await cluster.node(name).load(image);
  for (const name of nodes) if (!(await agentOn(cluster, name)).ready) await deleteAgent(cluster, name);
}

async function deleteAgent(cluster: Cluster, node: string): Promise<void> {
  const { name } = await agentOn(cluster, node);
  const force = ['--grace-period=0', '--force', '--ignore-not-found'];
  await cluster.kubectl(['delete', 'pod', '-n', 'gvisor-ready', name, ...force]);
}

/** The label of each node with gVisor, its condition, and since when, as the API shows it now. */
export async function saidOfNodes(cluster: Cluster): Promise<Readonly<Record<string, string>>> {
  const said = await Promise.all(GVISOR_NODES.map(async (name) => saidOf(await readNode(cluster, name))));
  return Object.fromEntries(
    said.map(({ ready, condition, since }, index) => [GVISOR_NODES[index], `${ready} ${condition} ${since}`]),
  );
}
