import { Cluster } from '../../cluster/cluster.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { bundle } from '../../hack/bundle.ts';
import { pause } from '../../hack/run.ts';
import { patch } from '../api/admission-objects.ts';
import { applyBase } from '../api/api-server.ts';
import { type ApiUser, certificateUser } from '../api/api-user.ts';
import { FleetObjects } from '../api/fleet-objects.ts';
import { waitForPolicies } from '../api/wait-for-policies.ts';
import { DOMAIN, readinessOf, readNode } from '../e2e/agents.ts';
import { startController, untilClosed } from './fleet.ts';
import { cpuMs } from './one-node.ts';
import { quantile } from './statistics.ts';

const SECONDS = 60;

export const LABELS_HEAD = ['what', '5,000', '40,000', '40,000, policies without bounds'];

/**
 * Measures what a kubelet costs others that writes thousands of labels to its Node and then another boot, so that the controller
 * wants to withdraw the label: with the policies as they are, and without their bounds of labels.
 */
export async function measureManyLabels(name: string): Promise<string[][]> {
  await bundle();
  const cluster = await Cluster.open(name);
  try {
    await cluster.startApiServer();
    await applyBase(cluster, []);
    const binding = ['clusterrolebinding', 'labeller', '--clusterrole=system:node', '--user=labeller'];
    await cluster.kubectl(['create', ...binding]);
    await (await FleetObjects.open(cluster)).addNode('other');
    const { stop } = await startController(cluster);
    try {
      await untilClosed();
      const columns = [await measureNode(cluster, 5_000), await measureNode(cluster, 40_000)];
      await removeBounds(cluster, await certificateUser(cluster, 'admin', ['system:masters']));
      columns.push(await measureNode(cluster, 40_000));
      const [first = {}] = columns;
      return Object.keys(first).map((what) => [what, ...columns.map((each) => each[what] ?? '')]);
    } finally {
      await stop();
    }
  } finally {
    await removeCluster(name);
  }
}

/** Writes the policies again, with bounds that no Node reaches. */
async function removeBounds(cluster: Cluster, admin: ApiUser): Promise<void> {
  const text = await cluster.kubectl(['get', 'validatingadmissionpolicies', '-o', 'json']);
  const unbounded = text.replaceAll(/(size\(\) (?:>|<=|\\u003e|\\u003c=)) [15]000\b/g, '$1 99999');
  await cluster.kubectl(['replace', '-f', '-'], unbounded);
  await waitForPolicies({ as: (_, call) => admin(call) });
}

async function measureNode(cluster: Cluster, count: number): Promise<Record<string, string>> {
  const name = `node-${performance.now().toFixed(0)}`;
  const path = `/api/v1/nodes/${name}`;
  await (await FleetObjects.open(cluster)).addNode(name);
  const admin = await certificateUser(cluster, 'admin', ['system:masters']);
  const labeller = await certificateUser(cluster, 'labeller');
  const kubelet = await certificateUser(cluster, `system:node:${name}`, ['system:nodes']);
  await admin(patch(path, { metadata: { annotations: { [`${DOMAIN}/proven-boot`]: 'one' } } }));
  // A Node has a few of its own.
  const labels = Object.fromEntries(Array.from({ length: count - 10 }, (_, at) => [`label-${at}`, 'x']));
  const started = performance.now();
  const { code } = await kubelet(patch(path, { metadata: { labels } }));
  const ms = performance.now() - started;
  const proc = cluster.controlPlane.path('/proc');
  const apiServer = cluster.controlPlane.daemonPid('kube-apiserver') ?? 0;
  const before = await cpuMs(apiServer, proc);
  const begun = performance.now();
  await kubelet(patch(`${path}/status`, { status: { nodeInfo: { bootID: 'two' } } }));
  const [user, administrator, other, withdrawn] = await Promise.all([
    writes(labeller, path, 'by-user', begun),
    writes(admin, path, 'by-admin', begun),
    writes(labeller, '/api/v1/nodes/other', 'by-user', begun),
    withdrawal(cluster, name, begun),
  ]);
  const seconds = (performance.now() - begun) / 1_000;
  const apiServerMs = await cpuMs(apiServer, proc);
  await admin({ method: 'DELETE', path });
  return {
    'the kubelet writes the labels': `${code}: ${ms.toFixed(0)} ms`,
    'a user writes a label of this Node': user,
    'an administrator does': administrator,
    'a user writes a label of another Node': other,
    'another boot → label withdrawn': withdrawn,
    'CPU of the API server': `${((apiServerMs - before) / seconds).toFixed(0)} m`,
  };
}

/** Writes a label, with pauses of a second; returns how often each status code came, and the median and p99 of the times. */
async function writes(user: ApiUser, path: string, label: string, begun: number): Promise<string> {
  const found: (readonly [number, number])[] = [];
  while (performance.now() - begun < SECONDS * 1_000) {
    const sent = performance.now();
    const { code } = await user(patch(path, { metadata: { labels: { [label]: `${found.length}` } } }));
    found.push([code, performance.now() - sent]);
    await pause(1);
  }
  const times = found.map(([, ms]) => ms);
  const at = (share: number) => quantile(times, share)?.toFixed(0);
  const counts = [...Map.groupBy(found, ([code]) => code)]
    .map(([code, { length }]) => `${length} × ${code}`)
    .join(', ');
  return `${counts}: ${at(0.5)}, ${at(0.99)} ms`;
}

async function withdrawal(cluster: Cluster, node: string, begun: number): Promise<string> {
  while (performance.now() - begun < SECONDS * 1_000) {
    if (readinessOf(await readNode(cluster, node)).ready === 'false')
      return `${((performance.now() - begun) / 1_000).toFixed(1)} s`;
    await pause(0.5);
  }
  return `not within ${SECONDS} s`;
}
