import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createListener } from 'node:net';
import { dirname, join } from 'node:path';
import type { V1Node } from '@kubernetes/client-node';
import { Cluster } from '../../cluster/cluster.ts';
import { READY_LABEL } from '../../cluster/labels.ts';
import { programOfImage } from '../../cluster/node/outside-agent.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { accessOf, openConfig } from '../../controller/access.ts';
import { routineIntervalMs } from '../../controller/reports.ts';
import { bundle } from '../../hack/bundle.ts';
import { REPO } from '../../hack/paths.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import type { FleetView } from '../../lib/fleet/view.ts';
import { AGENT_PORT } from '../../lib/kube/access.ts';
import { createKube, type Kube } from '../../lib/kube/client.ts';
import { OWN_KEYS } from '../../lib/report/node-object.ts';
import { BROKEN, HEALTHY } from '../agent/text/sample-reports.ts';
import { conditionOf } from '../api/fleet-objects.ts';
import { controllerKubeconfig } from '../api/fleet-run.ts';
import { overlay } from '../e2e/agents.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { cpuMs, memoryOf } from './one-node.ts';
import { mebibytes, quantile } from './statistics.ts';

const PORT = 9478;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';
/** The connections of a client. */
const AT_ONCE = 3;
/** Of the agent on the node of this number, one of 127/8. */
const addressOf = (index: number) => `127.9.${index >> 8}.${index & 255}`;

type Simulated = {
  readonly kube: Kube;
  readonly names: readonly string[];
  /** The nodes whose agents say that gVisor is broken. */
  readonly broken: Set<string>;
  readonly polls: () => number;
};

/** Measures the bundled controller with simulated Nodes and agents, each with an address of its own. */
export async function measureFleet(name: string, nodes: number): Promise<string[][]> {
  await bundle();
  const cluster = await Cluster.open(name);
  let polls = 0;
  const broken = new Set<string>();
  const reports = [HEALTHY, BROKEN].map((report) => JSON.stringify(report));
  const agents = createServer(({ socket }, response) => {
    polls++;
    // As a real agent: it speaks for its own node.
    const [, , high, low] = (socket.localAddress ?? '').split('.').map(Number);
    const name = nameOf(((high ?? 0) << 8) + (low ?? 0));
    const [healthy = '', failing = ''] = reports;
    response.end((broken.has(name) ? failing : healthy).replace('"node-1"', `"${name}"`));
  });
  const listeners = Array.from({ length: nodes }, (_, index) =>
    createListener((socket) => agents.emit('connection', socket)).listen(AGENT_PORT, addressOf(index)),
  );
  try {
    await cluster.startApiServer();
    const directory = await overlay([]);
    await cluster.kubectl(['apply', '-k', directory], undefined, 60_000);
    await rm(directory, { recursive: true });
    return await measureWith(cluster, { nodes, broken, polls: () => polls });
  } finally {
    agents.closeAllConnections();
    for (const listener of listeners) listener.close();
    await removeCluster(name);
  }
}

const nameOf = (index: number) => `fleet-${index}`;

async function measureWith(
  cluster: Cluster,
  { nodes, broken, polls }: Pick<Simulated, 'broken' | 'polls'> & { readonly nodes: number },
): Promise<string[][]> {
  const access = await accessOf(openConfig(cluster.kubeconfig));
  const kube = createKube(access, { agent: 'bench/0', count: () => {} });
  const fleet = { kube, broken, polls, names: Array.from({ length: nodes }, (_, index) => nameOf(index)) };
  await create(fleet);
  const { pid, stop } = await startController(cluster);
  const begun = performance.now();
  const secondsSince = () => `${((performance.now() - begun) / 1_000).toFixed(1)} s`;
  try {
    await waitFor('the controller', 300_000, async () => (await fetch(`${ORIGIN}/readyz`)).ok);
    const rows = [[`${nodes} nodes: start → all Nodes listed`, '≤ 30 s', secondsSince()]];
    await waitFor('every report', 600_000, async () => polls() >= nodes, 200);
    rows.push(['  → every agent asked once', '', secondsSince()]);
    await untilClosed();
    await pause(30);
    // A whole period: agents that were asked first in a burst are asked again in one.
    rows.push(...(await measureIdle(pid, routineIntervalMs(nodes, 120_000) / 1_000, polls)));
    rows.push(...(await measureWithdrawals(fleet, 60)));
    rows.push(...(await measureFlip(fleet, pid)));
    return rows;
  } finally {
    await stop();
    await kube.close();
  }
}

/** Starts the bundled controller, which serves on {@link ORIGIN}. */
async function startController(cluster: Cluster) {
  const kubeconfig = await controllerKubeconfig(cluster);
  const flags = ['--max-semi-space-size=2', '--max-old-space-size=160', join(REPO, 'dist/controller.cjs')];
  const settings = { KUBECONFIG: kubeconfig, NODE_AGE: '0s', RECOVERY_DELAY: '30s', LOG_LEVEL: 'warn' };
  const env = { PATH: process.env.PATH, ...programOfImage().env, ...settings };
  const controller = spawn(join(REPO, 'dist/node'), flags, { env, stdio: 'inherit' });
  const stop = async () => {
    controller.kill();
    await once(controller, 'exit');
    await rm(dirname(kubeconfig), { recursive: true });
  };
  return { pid: controller.pid ?? 0, stop };
}

/** Waits until nothing keeps the controller from withdrawing labels. */
const untilClosed = () =>
  waitFor('timers', 300_000, async () => {
    const view = (await (await fetch(`${ORIGIN}/fleet`)).json()) as FleetView;
    return view.breaker.length === 0;
  });

const BOOT = 'the-boot';

/** A kubelet reports at most 50 images. */
const IMAGES = Array.from({ length: 50 }, (_, index) => ({
  names: [
    `registry.example.com/team/image-${index}@sha256:${'0'.repeat(64)}`,
    `registry.example.com/team/image-${index}:1`,
  ],
  sizeBytes: 123_456_789,
}));

/** A Node with about as many labels as in a cloud. */
export function fleetNode(name: string): object {
  const annotations = { [OWN_KEYS.annotations.provenBoot]: BOOT };
  const more = Array.from({ length: 20 }, (_, index) => [`example.com/label-${index}`, `value-${index}`]);
  return { metadata: { name, annotations, labels: { [READY_LABEL]: 'true', ...Object.fromEntries(more) } } };
}

/** A Node status as kubelet and agent write it. */
export function fleetNodeStatus(): object {
  const conditions = ['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) =>
    conditionOf(type, 'False', type),
  );
  conditions.push(
    conditionOf('Ready', 'True', 'KubeletReady'),
    conditionOf('GVisorReady', 'True', 'SandboxProven'),
  );
  const nodeInfo = { bootID: BOOT, containerRuntimeVersion: 'containerd://2.1.4', operatingSystem: 'linux' };
  return { status: { conditions, images: IMAGES, nodeInfo } };
}

async function create({ kube, names }: Simulated): Promise<void> {
  await pooledMap([...names.keys()], AT_ONCE, async (index) => {
    const name = nameOf(index);
    await kube.post('/api/v1/nodes', fleetNode(name));
    await kube.patch(`/api/v1/nodes/${name}/status`, fleetNodeStatus(), 'strategic');
    await kube.post(PODS, daemonSetPod(name));
    await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(true, addressOf(index)), 'strategic');
  });
  const path = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets/gvisor-ready-agent';
  const { metadata } = (await kube.get(path)) as { metadata: { generation: number } };
  const counts = { desiredNumberScheduled: names.length, currentNumberScheduled: names.length };
  const status = {
    observedGeneration: metadata.generation,
    numberMisscheduled: 0,
    numberReady: names.length,
  };
  await kube.patch(`${path}/status`, { status: { ...counts, ...status } }, 'merge');
}

async function countRequests(): Promise<number> {
  const text = await (await fetch(`${ORIGIN}/metrics`)).text();
  const counts = text.matchAll(/^gvisor_ready_fleet_api_requests_total\{[^}]*\} (\d+)$/gm);
  return [...counts].reduce((sum, [, value]) => sum + Number(value), 0);
}

async function measureIdle(pid: number, seconds: number, polls: () => number): Promise<string[][]> {
  const [cpu, requests, asked] = [await cpuMs(pid), await countRequests(), polls()];
  await pause(seconds);
  const used = ((await cpuMs(pid)) - cpu) / seconds;
  const sent = (await countRequests()) - requests;
  const { rss } = await memoryOf(pid);
  return [
    ['resident memory, nothing happens', '≤ 250 MiB', `${mebibytes(rss)} MiB`],
    ['CPU, nothing happens', '≤ 200 m', `${used.toFixed(1)} m`],
    ['agents asked a second, nothing happens', '≤ 50', ((polls() - asked) / seconds).toFixed(1)],
    [`requests to the API server in ${seconds} s, without watches`, '', String(sent)],
  ];
}

/** A verdict as an agent writes it. */
async function flip({ kube, broken }: Simulated, name: string, isProven: boolean): Promise<void> {
  if (isProven) broken.delete(name);
  else broken.add(name);
  const condition = isProven
    ? conditionOf('GVisorReady', 'True', 'SandboxProven')
    : conditionOf('GVisorReady', 'False', 'ShimNotFound');
  const patch = {
    metadata: { labels: { [READY_LABEL]: String(isProven) } },
    status: { conditions: [condition] },
  };
  await kube.patch(`/api/v1/nodes/${name}/status`, patch, 'strategic');
}

/** From the boot ID of a Node that reboots to its label gone in a watch, once a second, while a hundred others flip a minute. */
async function measureWithdrawals(fleet: Simulated, seconds: number): Promise<string[][]> {
  const { kube, names } = fleet;
  const goneMs = new Map<string, number>();
  const stop = new AbortController();
  const watching = (async () => {
    const query = 'watch=1&resourceVersion=0&timeoutSeconds=3600';
    for await (const { object } of kube.watch(`/api/v1/nodes?${query}`, stop.signal)) {
      const { name = '', labels = {} } = (object as V1Node).metadata ?? {};
      if (labels[READY_LABEL] === 'false') goneMs.set(name, performance.now());
    }
  })().catch(() => {});
  await pause(5);
  const rebooted = names.slice(0, seconds);
  const flipping = names.slice(-100);
  const beganMs = new Map<string, number>();
  const flips = (async () => {
    for (const name of flipping) {
      await flip(fleet, name, false);
      await pause(seconds / flipping.length);
    }
  })();
  for (const name of rebooted) {
    beganMs.set(name, performance.now());
    const patch = { status: { nodeInfo: { bootID: 'another-boot' } } };
    await kube.patch(`/api/v1/nodes/${name}/status`, patch, 'strategic');
    await pause(1);
  }
  await flips;
  await waitFor('the withdrawals', 60_000, async () => rebooted.every((name) => goneMs.has(name)), 200);
  stop.abort();
  await watching;
  const ms = rebooted.map((name) => (goneMs.get(name) ?? 0) - (beganMs.get(name) ?? 0));
  const text = (share: number) => `${((quantile(ms, share) ?? 0) / 1_000).toFixed(2)} s`;
  const what = `a node reboots → label gone, 100 others flip a minute: median, p99 (n = ${ms.length})`;
  return [[what, '≤ 1, 3 s', `${text(0.5)}, ${text(0.99)}`]];
}

/** Every node loses its label and has it again, as quickly as one client can write that. */
async function measureFlip(fleet: Simulated, pid: number): Promise<string[][]> {
  const { names } = fleet;
  const cpu = await cpuMs(pid);
  const begun = performance.now();
  for (const isProven of [false, true])
    await pooledMap(names, AT_ONCE, (name) => flip(fleet, name, isProven));
  const writtenS = (performance.now() - begun) / 1_000;
  const view = await waitFor('the view', 300_000, async () => {
    const seen = (await (await fetch(`${ORIGIN}/fleet`)).json()) as FleetView;
    return seen.expected.proven >= names.length - 60 ? seen : undefined;
  });
  const usedS = ((await cpuMs(pid)) - cpu) / 1_000;
  const { rss } = await memoryOf(pid);
  return [
    ['all nodes flip, and back: written', '', `${writtenS.toFixed(0)} s`],
    ["  the controller's CPU meanwhile", '', `${usedS.toFixed(0)} s`],
    ['  resident memory after it', '', `${mebibytes(rss)} MiB`],
    ['  latest decision at the worst', '≤ 1 s late', `${view.lateSeconds} s`],
  ];
}
