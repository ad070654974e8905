import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { Cluster } from '../../cluster/cluster.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { READY_LABEL } from '../../cluster/story.ts';
import { bundle } from '../../hack/bundle.ts';
import { REPO } from '../../hack/paths.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { accessOf, openConfig } from '../../lib/fleet/access.ts';
import type { FleetView } from '../../lib/fleet/view.ts';
import { createKube, type Kube } from '../../lib/kube/client.ts';
import { HEALTHY } from '../agent/text/sample-reports.ts';
import { controllerKubeconfig } from '../api/fleet-run.ts';
import { overlay } from '../e2e/agents.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { fleetNode, fleetNodeStatus, inBatches } from './fleet-objects.ts';
import { measurePage } from './fleet-page.ts';
import { cpuMs, memoryOf } from './one-node.ts';
import { mebibytes } from './statistics.ts';

const PORT = 9478;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';
const CLIENTS = 8;
/** The address of all agents, and that of the lost agent. */
const [LIVE_ADDRESS, DEAD_ADDRESS] = ['127.0.0.9', '127.0.0.8'];

/** Environment variables of the image. */
const IMAGE_ENV = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_TRIM_THRESHOLD_: '65536',
  MALLOC_MMAP_THRESHOLD_: '32768',
};

/** Clients of the API server with cluster-admin rights. */
type Kubes = readonly [Kube, ...Kube[]];

/** Measures the bundled controller with simulated Nodes and agents; all agents share one loopback address. */
export async function measureFleet(name: string, nodes: number): Promise<string[][]> {
  await bundle();
  const cluster = await Cluster.open(name);
  const agents = createServer((_, response) => response.end(JSON.stringify(HEALTHY)));
  agents.listen(9477, LIVE_ADDRESS);
  try {
    await cluster.startApiServer();
    const directory = await overlay([]);
    await cluster.kubectl(['apply', '-k', directory], undefined, 60_000);
    await rm(directory, { recursive: true });
    return await measureWith(cluster, nodes);
  } finally {
    agents.close();
    await removeCluster(name);
  }
}

async function measureWith(cluster: Cluster, nodes: number): Promise<string[][]> {
  const access = await accessOf(openConfig(cluster.kubeconfig));
  const open = () => createKube(access, { agent: 'bench/0', count: () => {} });
  const kubes: Kubes = [open(), ...Array.from({ length: CLIENTS - 1 }, open)];
  const names = Array.from({ length: nodes }, (_, index) => `fleet-${index}`);
  await create(kubes, names);
  const { pid, stop } = await startController(cluster);
  const begun = performance.now();
  try {
    await waitFor('the controller', 300_000, async () => (await fetch(`${ORIGIN}/readyz`)).ok || undefined);
    const startS = (performance.now() - begun) / 1_000;
    const rows = [[`${nodes} nodes: start → all seen`, '', `${startS.toFixed(1)} s`]];
    await untilClosed();
    await pause(100);
    rows.push(...(await measureIdle(pid, 120)));
    rows.push(...(await measureLoss(kubes, names)));
    rows.push(...(await measureRollout(kubes, names.slice(1, 1 + Math.floor(nodes / 5)))));
    rows.push(...(await measureMassFault(kubes, names)));
    rows.push(...(await measurePage(ORIGIN)));
    const { rss } = await memoryOf(pid);
    rows.push(['resident memory at the end', '<= 200 MiB', `${mebibytes(rss)} MiB`]);
    return rows;
  } finally {
    await stop();
    await Promise.all(kubes.map((kube) => kube.close()));
  }
}

/** Starts the bundled controller, which serves on {@link ORIGIN}. */
export async function startController(cluster: Cluster) {
  const kubeconfig = await controllerKubeconfig(cluster);
  const flags = ['--max-semi-space-size=2', '--max-old-space-size=160', join(REPO, 'dist/controller.cjs')];
  const settings = { KUBECONFIG: kubeconfig, NODE_AGE: '0s', RECOVERY_DELAY: '30s', LOG_LEVEL: 'warn' };
  const env = { PATH: process.env.PATH, ...IMAGE_ENV, ...settings };
  const controller = spawn(join(REPO, 'dist/node'), flags, { env, stdio: 'inherit' });
  const stop = async () => {
    controller.kill();
    await once(controller, 'exit');
    await rm(dirname(kubeconfig), { recursive: true });
  };
  return { pid: controller.pid ?? 0, stop };
}

/** Waits until nothing keeps the controller from withdrawing labels. */
export const untilClosed = () =>
  waitFor('timers', 300_000, async () => (await readView()).breaker.length === 0 || undefined);

async function create(kubes: Kubes, names: readonly string[]): Promise<void> {
  await inBatches(kubes, names, async (kube, name) => {
    await kube.post('/api/v1/nodes', fleetNode(name));
    await kube.patch(`/api/v1/nodes/${name}/status`, fleetNodeStatus(), 'strategic');
    await kube.post(PODS, daemonSetPod(name));
    const address = name === names[0] ? DEAD_ADDRESS : LIVE_ADDRESS;
    await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(true, address), 'strategic');
  });
  const [kube] = kubes;
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

const readView = async () => (await (await fetch(`${ORIGIN}/fleet`)).json()) as FleetView;

export async function readMetric(pattern: RegExp): Promise<number> {
  const text = await (await fetch(`${ORIGIN}/metrics`)).text();
  return [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0);
}
export const REQUESTS = /^gvisor_ready_fleet_api_requests_total\{[^}]*\} (\d+)$/gm;
const WITHDRAWALS = /^gvisor_ready_fleet_withdrawals_total (\d+)$/gm;

async function measureIdle(pid: number, seconds: number): Promise<string[][]> {
  const [cpu, requests] = [await cpuMs(pid), await readMetric(REQUESTS)];
  await pause(seconds);
  const used = ((await cpuMs(pid)) - cpu) / seconds;
  const sent = (await readMetric(REQUESTS)) - requests;
  const { rss } = await memoryOf(pid);
  return [
    [`resident memory, nothing happens`, '<= 200 MiB', `${mebibytes(rss)} MiB`],
    [`CPU, nothing happens, one report of each agent in 5 min`, '', `${used.toFixed(1)} m`],
    [`requests in ${seconds} s, without watches`, '0', String(sent)],
  ];
}

async function measureLoss(kubes: Kubes, [name = '']: readonly string[]): Promise<string[][]> {
  const [kube] = kubes;
  const begun = performance.now();
  await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(false, DEAD_ADDRESS), 'strategic');
  await waitFor('the withdrawal', 180_000, async () => {
    const node = (await kube.get(`/api/v1/nodes/${name}`)) as {
      metadata: { labels: Record<string, string> };
    };
    return node.metadata.labels[READY_LABEL] === 'false' || undefined;
  });
  const seconds = (performance.now() - begun) / 1_000;
  return [['agent lost → label withdrawn', '<= 120 s', `${seconds.toFixed(1)} s`]];
}

/** Replaces the agents' pods all at once; the new ones become Ready later. */
async function measureRollout(kubes: Kubes, names: readonly string[]): Promise<string[][]> {
  const before = await readMetric(WITHDRAWALS);
  const begun = performance.now();
  await inBatches(kubes, names, async (kube, name) => {
    await kube.post(PODS, {
      ...daemonSetPod(name, 'two'),
      metadata: { ...daemonSetPod(name, 'two').metadata, name: `next-${name}` },
    });
    await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(false, LIVE_ADDRESS), 'strategic');
  });
  await pause(60);
  await inBatches(kubes, names, async (kube, name) => {
    await kube.patch(`${PODS}/next-${name}/status`, runningStatus(true, LIVE_ADDRESS), 'strategic');
  });
  const seconds = (performance.now() - begun) / 1_000;
  await pause(30);
  const count = (await readMetric(WITHDRAWALS)) - before;
  return [
    [`withdrawals in a rolling update of ${names.length}, ${seconds.toFixed(0)} s`, '0', String(count)],
  ];
}

async function measureMassFault(kubes: Kubes, names: readonly string[]): Promise<string[][]> {
  const before = await readMetric(WITHDRAWALS);
  const half = names.slice(Math.floor(names.length / 2));
  const begun = performance.now();
  await inBatches(kubes, half, async (kube, name) => {
    await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(false, LIVE_ADDRESS), 'strategic');
  });
  await waitFor('the circuit breaker', 300_000, async () => {
    const { breaker } = await readView();
    return breaker.some(({ reason }) => reason === 'TooManyLost') || undefined;
  });
  const seconds = (performance.now() - begun) / 1_000;
  await pause(120);
  const count = (await readMetric(WITHDRAWALS)) - before;
  return [
    [`${half.length} agents lost at once → breaker open`, '<= 90 s', `${seconds.toFixed(1)} s`],
    ['  withdrawals in it', '0', String(count)],
  ];
}
