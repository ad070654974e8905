import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakAndWait, breakNode, healAndWait } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/fault-texts.ts';
import { secondsUntilLabel } from '../../cluster/labels.ts';
import { type ClusterNode, RUNSC } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { accessOf, openConfig } from '../../controller/access.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { createKube } from '../../lib/kube/client.ts';
import { agentOn } from '../e2e/agents.ts';
import { statistics } from './statistics.ts';

/** Faults that remove a file; their goal is for all together. */
const FILE_FAULTS = ['shim-missing', 'runsc-missing', 'config-missing'] as const satisfies FaultName[];
const OTHER_FAULTS = [
  ['runsc-cannot-boot', '≤ 35 s'],
  ['handler-removed', '≤ 10 s'],
] as const satisfies readonly (readonly [FaultName, string])[];
/** Runs of what takes minutes. */
const MAX_SLOW_RUNS = 3;
/** A handler rests for ten seconds before the agent looks because of pods. */
const FAILED_START_S = 12;
const FAULTS = [...FILE_FAULTS, ...OTHER_FAULTS.map(([fault]) => fault)];

/** Times from a fault, a repair or a start of the agent's pod to the label change in a watch. */
export async function measureLabels(cluster: Cluster, node: ClusterNode, runs: number): Promise<string[][]> {
  const gone = new Map<FaultName, number[]>(FAULTS.map((fault) => [fault, []]));
  const goneAfter = (fault: FaultName) => gone.get(fault) ?? [];
  const back: number[] = [];
  for (let run = 0; run < runs; run++) {
    for (const fault of FAULTS) {
      goneAfter(fault).push((await breakAndWait(cluster, node.name, fault)) * 1000);
      back.push((await healAndWait(cluster, node.name, fault)) * 1000);
      // The agent's token bucket allows 8 evaluations, then one in 3 s: faults in faster succession wait.
      await pause(10);
    }
  }
  const unseen: number[] = [];
  for (let run = 0; run < Math.min(runs, MAX_SLOW_RUNS); run++)
    unseen.push(1000 * (await withoutEvent(cluster, node)));
  const written: number[] = [];
  for (let run = 0; run < runs; run++) written.push((await writeLabel(cluster, node, run)) * 1000);
  const bound: number[] = [];
  for (let run = 0; run < runs; run++) bound.push(await lastBound(cluster, node));
  const starts: number[] = [];
  for (let run = 0; run < runs; run++) starts.push((await restart(cluster, node)) * 1000);
  return [
    statistics('a file goes → label withdrawn', '≤ 0.6 s, p99 ≤ 1.0 s', FILE_FAULTS.flatMap(goneAfter)),
    statistics('  floor: a label written → seen in the watch', '', written),
    ...OTHER_FAULTS.map(([fault, goal]) => statistics(`${fault} → label withdrawn`, goal, goneAfter(fault))),
    statistics('fault without a file event, and a pod → label withdrawn', '≤ 15 s', unseen),
    statistics('shim-missing → the last pod that is bound, one every 20 ms', '', bound),
    statistics('repaired → label back', '≤ 0.6 s, p99 ≤ 1.0 s', back),
    statistics("agent's pod deleted → a new one is Ready", '≤ 5 s', starts),
  ];
}

/** Seconds from a mount over runsc, which no watch sees, and a pod that fails because of it, to the label's withdrawal. */
async function withoutEvent(cluster: Cluster, node: ClusterNode): Promise<number> {
  await pause(FAILED_START_S);
  const pod = evaluationPod('fails', { gvisor: true, spec: { nodeName: node.name } });
  const seconds = await secondsUntilLabel(cluster, node.name, 'false', async () => {
    await node.machine.run(['mount', '--bind', '/etc/hostname', RUNSC]);
    await cluster.kubectl(['create', '-f', '-'], pod);
  });
  await cluster.kubectl(['delete', 'pod', 'fails', '--force', '--grace-period=0']);
  // Nothing tells the agent of the repair but its own next look.
  const repair = async () => void (await node.machine.run(['umount', RUNSC]));
  await secondsUntilLabel(cluster, node.name, 'true', repair, { timeoutMs: 120_000 });
  return seconds;
}

/** Seconds from the request that writes a label of another name to its event. */
async function writeLabel(cluster: Cluster, node: ClusterNode, run: number): Promise<number> {
  const access = await accessOf(openConfig(cluster.kubeconfig));
  const admin = createKube(access, { agent: 'bench/0', count: () => {} });
  const label = `bench-${run}`;
  const write = async () => {
    const labels = { metadata: { labels: { [label]: 'true' } } };
    await admin.patch(`/api/v1/nodes/${node.name}`, labels, 'merge');
  };
  return secondsUntilLabel(cluster, node.name, 'true', write, { label }).finally(() => admin.close());
}

/** Milliseconds from a fault to the creation of the last pod that the scheduler bound to the node. */
async function lastBound(cluster: Cluster, node: ClusterNode): Promise<number> {
  const access = await accessOf(openConfig(cluster.kubeconfig));
  const admin = createKube(access, { agent: 'bench/0', count: () => {} });
  const path = '/api/v1/namespaces/default/pods';
  // The kubelet refuses it, so that no sandboxes fail beside the measurement.
  const options = { gvisor: true, spec: { os: { name: 'windows' } } };
  const create = () => evaluationPod(`at-${Math.round(performance.now())}`, options);
  const timer = setInterval(() => void admin.post(path, JSON.parse(create())), 20);
  let brokenMs = 0;
  const damage = async () => {
    brokenMs = performance.now();
    await breakNode(cluster, node, 'shim-missing');
  };
  await secondsUntilLabel(cluster, node.name, 'false', damage).finally(() => clearInterval(timer));
  await pause(2);
  const created = `${path}?labelSelector=app%3Devaluation`;
  const { items } = (await admin.get(created)) as V1PodList;
  const bound = items.filter(({ spec }) => spec?.nodeName !== undefined);
  const atMs = bound.map(({ metadata }) => Number(metadata?.name?.slice('at-'.length)));
  await cluster.kubectl(['delete', '--raw', `${created}&gracePeriodSeconds=0`]);
  await healAndWait(cluster, node.name, 'shim-missing');
  await admin.close();
  return Math.max(...atMs) - brokenMs;
}

/** Deletes the agent's pod; returns the seconds until the next is Ready, which requires its verdict in the Node. */
async function restart(cluster: Cluster, node: ClusterNode): Promise<number> {
  const { name: old } = await agentOn(cluster, node.name);
  const begun = performance.now();
  await cluster.kubectl(['delete', 'pod', '-n', 'gvisor-ready', old, '--wait=false']);
  const another = async () => {
    const { name, ready } = await agentOn(cluster, node.name);
    return ready && name !== old ? true : undefined;
  };
  await waitFor('another agent', 60_000, another, 50);
  return (performance.now() - begun) / 1000;
}
