import type { Cluster } from '../../cluster/cluster.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { pause } from '../../hack/run.ts';
import { readMetrics } from '../e2e/agents.ts';
import { cpuMs, memoryOf } from './one-node.ts';
import { mebibytes } from './statistics.ts';

const BATCH = 10;
/** A thread may end meanwhile. */
const LATE_TIMERS =
  'for pid in $(pgrep -f ^runsc-sandbox); do cd /proc/$pid/task && for task in *; do echo 500000000 > /proc/$task/timerslack_ns; done; done 2>/dev/null; true';

/** The times in seconds, and the gVisor pods beside the agent. */
type PodOptions = { readonly soakS: number; readonly idleS: number; readonly beside: number };

/** Memory, CPU time and API requests of the agent's pod. */
export async function measurePod(
  cluster: Cluster,
  node: ClusterNode,
  { soakS, idleS, beside }: PodOptions,
): Promise<string[][]> {
  await startIdlePods(cluster, node, beside);
  const agent = processesIn(node.machine).find(({ argv }) => argv.includes('/app/agent.cjs'));
  if (agent === undefined) throw new Error(`No agent runs in a pod of ${node.name}`);
  const proc = node.machine.path('/proc');
  await pause(soakS);
  const requests = await countRequests(cluster, node.name);
  const cpu = await cpuMs(agent.pid, proc);
  await pause(idleS);
  const used = (await cpuMs(agent.pid, proc)) - cpu;
  const sent = (await countRequests(cluster, node.name)) - requests;
  const { rss, anonymous } = await memoryOf(agent.pid, proc);
  await cluster.kubectl(['delete', 'replicaset', 'idle', '--cascade=foreground']);
  return [
    [`resident memory after ${soakS + idleS} s`, '≤ 64 MiB', `${mebibytes(rss)} MiB`],
    [`anonymous memory after ${soakS + idleS} s`, '≤ 20 MiB', `${mebibytes(anonymous)} MiB`],
    [`CPU over ${idleS} s without an evaluation`, '≤ 3 m', `${(used / idleS).toFixed(1)} m`],
    [`requests to the API server in ${idleS} s`, '≤ 8 an hour', String(sent)],
  ];
}

/**
 * Starts idle gVisor pods, a few at a time: many that start at once time out, and start again. The timers of their
 * sentries may be late by half a second: else an idle sentry takes 13 to 23 m, and 100 fill two processors.
 */
async function startIdlePods(cluster: Cluster, node: ClusterNode, pods: number): Promise<void> {
  const resources = { requests: { cpu: '1m', memory: '1Mi' } };
  const pod = evaluationPod('idle', {
    gvisor: true,
    spec: { nodeName: node.name },
    container: { resources },
  });
  const { metadata, spec: template } = JSON.parse(pod);
  for (let there = 0; there < pods; ) {
    there = Math.min(there + BATCH, pods);
    const spec = {
      replicas: there,
      selector: { matchLabels: metadata.labels },
      template: { metadata, spec: template },
    };
    const set = { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: { name: 'idle' }, spec };
    await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(set));
    const ready = `--for=jsonpath={.status.readyReplicas}=${there}`;
    await cluster.kubectl(['wait', 'replicaset/idle', ready, '--timeout=5m'], undefined, 360_000);
    await node.system.run(['sh', '-c', LATE_TIMERS]);
  }
}

/** API requests of the agent by its metrics. */
async function countRequests(cluster: Cluster, node: string): Promise<number> {
  const text = await readMetrics(cluster, node);
  const counts = [...text.matchAll(/^gvisor_ready_api_requests_total\{.*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}
