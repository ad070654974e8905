import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import type { Report } from '../../lib/report/report.ts';
import { deployWith, getFromAgent, waitForNode } from '../e2e/agents.ts';
import { evaluationStartMs, touch } from '../integration/outside-agent.ts';
import { countsOf } from '../load/under-load.ts';
import { agentPid } from './labels.ts';
import { cpuMs, EVALUATION_S, memoryOf } from './one-node.ts';
import { mebibytes, statistics } from './statistics.ts';

const STEPS = [10, 100, 200, 400];
const BATCH = 10;
const EVALUATIONS = 6;
/** Until the agent has examined the new pods. */
const SETTLE_S = 30;
/** A thread may end meanwhile. */
const LATE_TIMERS =
  'for pid in $(pgrep -f ^runsc-sandbox); do cd /proc/$pid/task && for task in *; do echo 500000000 > /proc/$task/timerslack_ns; done; done 2>/dev/null; true';

/** The numbers of pods to measure with, up to the given one. */
export const densities = (pods: number) => [...STEPS.filter((step) => step < pods), pods];

/**
 * Measures the agent beside a growing number of gVisor pods on its node, as many as the machine runs. They are there
 * afterwards. Returns a table with its head.
 */
export async function measureDensity(
  cluster: Cluster,
  node: ClusterNode,
  { steps, idleS }: { readonly steps: readonly number[]; readonly idleS: number },
): Promise<string[][]> {
  await deployWith(cluster, { PROOF_INTERVAL: '1h' });
  await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
  const before = await countsOf(cluster, node);
  const columns: string[][][] = [];
  for (const step of steps) {
    const tooMany = await scaleTo(cluster, node, step).then(() => undefined, errorLine);
    if (tooMany !== undefined) {
      console.error(`This machine does not run ${step} gVisor pods: ${tooMany}`);
      break;
    }
    console.error(`${step} gVisor pods run`);
    await pause(SETTLE_S);
    const rows = await measureStep(cluster, node, idleS);
    const after = await countsOf(cluster, node);
    const more = (['transitions', 'writes', 'restarts'] as const).map((name) => after[name] - before[name]);
    columns.push([...rows, ['changes of the condition, writes, restarts', '0, 0, 0', more.join(', ')]]);
  }
  const [first = []] = columns;
  return [
    ['what', 'goal', ...columns.map((_, index) => `${steps[index]} pods`)],
    ...first.map(([what = '', goal = ''], row) => [
      what,
      goal,
      ...columns.map((rows) => rows[row]?.[2] ?? ''),
    ]),
  ];
}

/**
 * Adds gVisor pods until there are so many, a few at a time: hundreds that start at once time out, and start again. The
 * timers of their sentries may be late by half a second: else an idle sentry takes 13 to 23 m, and 100 fill two processors.
 */
export async function scaleTo(cluster: Cluster, node: ClusterNode, pods: number): Promise<void> {
  const { items } = JSON.parse(await cluster.get('/api/v1/namespaces/default/pods')) as V1PodList;
  for (let there = items.length; there < pods; ) {
    there = Math.min(there + BATCH, pods);
    await cluster.kubectl(['apply', '-f', '-'], densePods(node, there));
    const ready = `--for=jsonpath={.status.readyReplicas}=${there}`;
    await cluster.kubectl(['wait', 'replicaset/dense', ready, '--timeout=5m'], undefined, 360_000);
    await node.system.run(['sh', '-c', LATE_TIMERS]);
  }
}

/** A set of idle gVisor pods on the node (JSON). */
function densePods(node: ClusterNode, replicas: number): string {
  const resources = { requests: { cpu: '1m', memory: '1Mi' } };
  const pod = evaluationPod('dense', {
    gvisor: true,
    spec: { nodeName: node.name },
    container: { resources },
  });
  const { metadata, spec } = JSON.parse(pod);
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name: 'dense' },
    spec: { replicas, selector: { matchLabels: metadata.labels }, template: { metadata, spec } },
  });
}

/** Measures the agent beside the pods that are there. Returns rows of what, goal and figure. */
async function measureStep(cluster: Cluster, node: ClusterNode, idleS: number): Promise<string[][]> {
  const pid = agentPid(cluster, node);
  const idleMs = await cpuDuring(pid, () => pause(idleS));
  const durations: number[] = [];
  const boots: number[] = [];
  const cpu: number[] = [];
  for (let evaluation = 0; evaluation < EVALUATIONS; evaluation++) {
    const sinceMs = Date.now();
    cpu.push(await cpuDuring(pid, () => evaluateOn(node)));
    const { durationMs, proof } = await evaluatedSince(cluster, node, sinceMs);
    durations.push(durationMs);
    if (proof.kind === 'proven') boots.push(proof.bootMs);
  }
  const { rss, anonymous } = await memoryOf(pid);
  return [
    [`CPU over ${idleS} s without an evaluation`, '≤ 5 m', `${(idleMs / idleS).toFixed(1)} m`],
    ['CPU time of an evaluation', '≤ 0.10 s', medianAndP99(cpu)],
    ['evaluation: duration', '', medianAndP99(durations)],
    ['proof: boot', '≤ 0.25 / 0.30 s', medianAndP99(boots)],
    ['resident memory', '≤ 64 MiB', `${mebibytes(rss)} MiB`],
    ['anonymous memory', '≤ 20 MiB', `${mebibytes(anonymous)} MiB`],
  ];
}

function medianAndP99(ms: readonly number[]): string {
  const [, , median, p99] = statistics('', '', ms);
  return `${median?.replace(' s', '')} / ${p99}`;
}

async function cpuDuring(pid: number, work: () => Promise<void>): Promise<number> {
  const before = await cpuMs(pid);
  await work();
  return (await cpuMs(pid)) - before;
}

/** Triggers an evaluation and gives it time to end; polling its report would dominate its CPU time. */
async function evaluateOn(node: ClusterNode): Promise<void> {
  await touch(node);
  await pause(EVALUATION_S);
}

async function evaluatedSince(cluster: Cluster, node: ClusterNode, sinceMs: number) {
  return waitFor('the evaluation to end', 120_000, async () => {
    const { text } = await getFromAgent(cluster, node.name, '/report');
    const report = JSON.parse(text) as Report;
    const { durationMs } = report.evaluation;
    return evaluationStartMs(report) >= sinceMs ? { durationMs, proof: report.proof } : undefined;
  });
}
