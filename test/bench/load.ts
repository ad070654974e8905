import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { pause } from '../../hack/run.ts';
import { deployWith, onDaemonSet, readMetrics, waitForNode, waitForRollout } from '../e2e/agents.ts';
import { BURN, type Effect, endLoad, startLoad, underLoad } from '../load/under-load.ts';

/** The seconds of each load. */
export type Loads = { readonly cpuS: number; readonly pressureS: number };

export const LOAD_HEAD = ['load', 'what', 'goal', 'measured'];

const PROOF_INTERVAL_S = 30;
/** Busy processes per CPU. */
const TIMES = 8;
/** Reads more than its memory can cache, so that the kernel reclaims memory all the time. */
const FILL_MEMORY = {
  script: 'head -c 200M /dev/zero > /tmp/large; while :; do cat /tmp/large > /dev/null; done',
  memory: '36Mi',
};
const FILL_DISK = 'while :; do dd if=/dev/zero of=/tmp/fill bs=1M count=200 conv=fsync 2>/dev/null; done';

/** Measures the effect of loads on a proven node: its label, writes to its Node, and sandboxes. */
export async function measureLoad(cluster: Cluster, node: ClusterNode, loads: Loads): Promise<string[][]> {
  await deployWith(cluster, { PROOF_INTERVAL: `${PROOF_INTERVAL_S}s` });
  await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
  const burners = allBusy();
  const memoryAndDisk = `memory and disk, ${loads.pressureS} s`;
  const pressures: { memory: number; io: number }[] = [];
  const rows = [
    ...(await under(`CPU, ${burners.length} processes, ${loads.cpuS} s`, cluster, node, async () => {
      await startLoad(cluster, node, burners);
      await pause(loads.cpuS);
      await endLoad(cluster);
    })),
    ...(await under(memoryAndDisk, cluster, node, async () => {
      await startLoad(cluster, node, [
        ...burners.slice(0, 4),
        ...Array(6).fill(FILL_MEMORY),
        ...Array(4).fill(FILL_DISK),
      ]);
      for (
        const endMs = performance.now() + loads.pressureS * 1_000;
        performance.now() < endMs;
        await pause(5)
      )
        pressures.push({ memory: await shareOf('memory'), io: await shareOf('io') });
      await endLoad(cluster);
    })),
    // Shows that there was pressure.
    [
      memoryAndDisk,
      'waiting for memory, for the disk (PSI, median)',
      '≥ 10, 20 %',
      `${median(pressures.map(({ memory }) => memory))}, ${median(pressures.map(({ io }) => io))} %`,
    ],
  ];
  return rows;
}

/** PSI "some avg10" of a resource in percent. */
async function shareOf(resource: 'memory' | 'io'): Promise<number> {
  const text = await readFile(`/proc/pressure/${resource}`, 'utf8');
  return Number(/^some avg10=([\d.]+)/m.exec(text)?.[1] ?? 0);
}

const median = (shares: readonly number[]) =>
  Math.round([...shares].sort((a, b) => a - b)[Math.floor(shares.length / 2)] ?? 0);

/** Pods that wait for their start at a time. */
const MAX_PENDING = 20;
const CYCLE_S = 5;

/**
 * Measures the effect of gVisor pods that come and go on a busy node, at most `pods` at a time. Every other pod ends by itself,
 * and the oldest are deleted, running or not.
 */
export async function measureChurn(
  cluster: Cluster,
  node: ClusterNode,
  { churnS, pods }: { readonly churnS: number; readonly pods: number },
): Promise<string[][]> {
  await deployWith(cluster, { PROOF_INTERVAL: `${PROOF_INTERVAL_S}s` });
  await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
  const load = `gVisor pods come and go, ${churnS} s`;
  let created = 0;
  let most = 0;
  const rows = await under(load, cluster, node, async () => {
    await startLoad(cluster, node, allBusy());
    for (const endMs = performance.now() + churnS * 1_000; performance.now() < endMs; await pause(CYCLE_S)) {
      const { pending, running, ended } = await churningPods(cluster);
      most = Math.max(most, running.length);
      const missing = Math.min(MAX_PENDING - pending.length, pods - pending.length - running.length);
      if (missing > 0) await startChurning(cluster, node, { from: created, count: missing });
      created += Math.max(missing, 0);
      const leaving = [...ended, ...pending.slice(0, 1), ...running.slice(0, running.length / 20)];
      await deletePods(cluster, leaving, '--wait=false');
    }
    const { pending, running, ended } = await churningPods(cluster);
    // First, because the pods need the processors to end.
    await endLoad(cluster);
    await deletePods(cluster, [...pending, ...running, ...ended]);
  });
  return [[load, 'pods created, running at most', '', `${created}, ${most}`], ...rows];
}

/** Names of the pods of {@link startChurning} by their state, oldest first, except for pods being deleted. */
async function churningPods(cluster: Cluster) {
  const { items } = JSON.parse(await cluster.get('/api/v1/namespaces/default/pods')) as V1PodList;
  const named = items
    .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
    .map(({ metadata, status }) => ({ name: metadata?.name ?? '', phase: status?.phase ?? '' }))
    .filter(({ name }) => name.startsWith('churn-'))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const inPhase = (...phases: string[]) =>
    named.filter(({ phase }) => phases.includes(phase)).map(({ name }) => name);
  return { pending: inPhase('Pending'), running: inPhase('Running'), ended: inPhase('Succeeded', 'Failed') };
}

async function startChurning(
  cluster: Cluster,
  node: ClusterNode,
  { from, count }: { readonly from: number; readonly count: number },
): Promise<void> {
  const items = Array.from({ length: count }, (_, index) => {
    const number = from + index;
    const pod = evaluationPod(`churn-${String(number).padStart(5, '0')}`, {
      gvisor: true,
      // Not 0, with which the API server forgets a pod before the kubelet has ended it.
      spec: { nodeName: node.name, restartPolicy: 'Never', terminationGracePeriodSeconds: 1 },
      container: { command: ['sleep', number % 2 === 0 ? '30' : 'infinity'] },
    });
    return JSON.parse(pod);
  });
  const list = { apiVersion: 'v1', kind: 'List', items };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(list), 120_000);
}

async function deletePods(cluster: Cluster, names: readonly string[], ...options: readonly string[]) {
  if (names.length === 0) return;
  await cluster.kubectl(['delete', 'pod', '--ignore-not-found', ...options, ...names], undefined, 600_000);
}

export const REQUEST_HEAD = ['CPU request of the agent', 'what', 'goal', 'measured'];
const REQUESTS = ['10m', '50m', '100m'];

/** Measures the effect of a CPU load for several CPU requests of the agent. */
export async function measureRequests(
  cluster: Cluster,
  node: ClusterNode,
  cpuS: number,
): Promise<string[][]> {
  const rows: string[][] = [];
  await deployWith(cluster, { PROOF_INTERVAL: `${PROOF_INTERVAL_S}s` });
  for (const request of REQUESTS) {
    await onDaemonSet(cluster, ['set', 'resources'], [`--requests=cpu=${request}`]);
    await waitForRollout(cluster);
    await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
    let slowestMs = 0;
    const effect = await underLoad(cluster, node, async () => {
      await startLoad(cluster, node, allBusy());
      for (const endMs = performance.now() + cpuS * 1_000; performance.now() < endMs; await pause(5)) {
        const sentMs = performance.now();
        await readMetrics(cluster, node.name).catch(() => undefined);
        slowestMs = Math.max(slowestMs, performance.now() - sentMs);
      }
      await endLoad(cluster);
    });
    rows.push(
      [request, 'label not "true", seconds', '0', String(effect.lostS)],
      [request, 'slowest response of /metrics, read each 5 s', '', `${(slowestMs / 1_000).toFixed(1)} s`],
      [request, 'end of load → next proof', '', `${effect.backS.toFixed(1)} s`],
    );
  }
  return rows;
}

const allBusy = () => Array<string>(cpus().length * TIMES).fill(BURN);

const byOutcome = ({ outcomes }: Effect) =>
  [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(', ');

/** Runs a load; returns its rows. */
async function under(
  load: string,
  cluster: Cluster,
  node: ClusterNode,
  work: () => Promise<void>,
): Promise<string[][]> {
  const effect = await underLoad(cluster, node, work);
  return [
    [load, 'label not "true", seconds', '0', String(effect.lostS)],
    [load, 'changes of the condition', '0', String(effect.transitions)],
    [load, 'writes to the Node', '0', String(effect.writes)],
    [load, 'probes by outcome', '', byOutcome(effect)],
    [load, 'sandboxes left behind', '0', String(effect.sandboxes)],
    [load, 'cgroups left behind', '0', String(effect.cgroups)],
    [load, 'restarts of the agent', '0', String(effect.restarts)],
    [load, 'end of load → next proof', '', `${effect.backS.toFixed(1)} s`],
  ];
}
