import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { Cluster } from '../../cluster/cluster.ts';
import { READY_LABEL } from '../../cluster/labels.ts';
import { programOfImage } from '../../cluster/node/outside-agent.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { accessOf, openConfig } from '../../controller/access.ts';
import { bundle } from '../../hack/bundle.ts';
import { REPO } from '../../hack/paths.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import type { FleetView } from '../../lib/fleet/view.ts';
import { createKube, type Kube } from '../../lib/kube/client.ts';
import { HEALTHY } from '../agent/text/sample-reports.ts';
import { conditionOf } from '../api/fleet-objects.ts';
import { controllerKubeconfig } from '../api/fleet-run.ts';
import { overlay } from '../e2e/agents.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { cpuMs, memoryOf } from './one-node.ts';
import { mebibytes } from './statistics.ts';

const PORT = 9478;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const PODS = '/api/v1/namespaces/gvisor-ready/pods';
/** The connections of a client. */
const AT_ONCE = 3;
/** The address of all agents. */
const ADDRESS = '127.0.0.9';

/** Measures the bundled controller with simulated Nodes and agents; all agents share one loopback address. */
export async function measureFleet(name: string, nodes: number): Promise<string[][]> {
  await bundle();
  const cluster = await Cluster.open(name);
  const agents = createServer((_, response) => response.end(JSON.stringify(HEALTHY)));
  agents.listen(9477, ADDRESS);
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
  const kube = createKube(access, { agent: 'bench/0', count: () => {} });
  const names = Array.from({ length: nodes }, (_, index) => `fleet-${index}`);
  await create(kube, names);
  const { pid, stop } = await startController(cluster);
  const begun = performance.now();
  try {
    await waitFor('the controller', 300_000, async () => (await fetch(`${ORIGIN}/readyz`)).ok);
    const startS = (performance.now() - begun) / 1_000;
    const rows = [[`${nodes} nodes: start → all seen`, '', `${startS.toFixed(1)} s`]];
    await untilClosed();
    await pause(100);
    rows.push(...(await measureIdle(pid, 120)));
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

/** A kubelet reports at most 50 images. */
const IMAGES = Array.from({ length: 50 }, (_, index) => ({
  names: [
    `registry.example.com/team/image-${index}@sha256:${'0'.repeat(64)}`,
    `registry.example.com/team/image-${index}:1`,
  ],
  sizeBytes: 123_456_789,
}));

/** A Node with about as many labels as in a cloud. */
function fleetNode(name: string): object {
  const more = Array.from({ length: 20 }, (_, index) => [`example.com/label-${index}`, `value-${index}`]);
  return { metadata: { name, labels: { [READY_LABEL]: 'true', ...Object.fromEntries(more) } } };
}

/** A Node status as kubelet and agent write it. */
function fleetNodeStatus(): object {
  const conditions = ['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) =>
    conditionOf(type, 'False', type),
  );
  conditions.push(
    conditionOf('Ready', 'True', 'KubeletReady'),
    conditionOf('GVisorReady', 'True', 'SandboxProven'),
  );
  const nodeInfo = { containerRuntimeVersion: 'containerd://2.1.4', operatingSystem: 'linux' };
  return { status: { conditions, images: IMAGES, nodeInfo } };
}

async function create(kube: Kube, names: readonly string[]): Promise<void> {
  await pooledMap(names, AT_ONCE, async (name) => {
    await kube.post('/api/v1/nodes', fleetNode(name));
    await kube.patch(`/api/v1/nodes/${name}/status`, fleetNodeStatus(), 'strategic');
    await kube.post(PODS, daemonSetPod(name));
    await kube.patch(`${PODS}/agent-${name}/status`, runningStatus(true, ADDRESS), 'strategic');
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

async function measureIdle(pid: number, seconds: number): Promise<string[][]> {
  const [cpu, requests] = [await cpuMs(pid), await countRequests()];
  await pause(seconds);
  const used = ((await cpuMs(pid)) - cpu) / seconds;
  const sent = (await countRequests()) - requests;
  const { rss } = await memoryOf(pid);
  return [
    [`resident memory, nothing happens`, '<= 200 MiB', `${mebibytes(rss)} MiB`],
    [`CPU, nothing happens, one report of each agent in 5 min`, '', `${used.toFixed(1)} m`],
    [`requests in ${seconds} s, without watches`, '0', String(sent)],
  ];
}
