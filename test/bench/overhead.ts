import type { Cluster } from '../../cluster/cluster.ts';
import type { NodeSpec } from '../../cluster/plan/nodes.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { pause } from '../../hack/run.ts';
import { runtimeClass } from '../e2e/e2e-cluster.ts';
import { mebibytes, quantile } from './statistics.ts';

/** A node for each measured release of gVisor. */
export const OVERHEAD_NODES = [
  { name: 'gvisor-20250203', gvisor: '2025' },
  { name: 'gvisor-20260223', gvisor: 'current' },
  { name: 'gvisor-20260831', gvisor: '2026-09' },
] as const satisfies readonly Partial<NodeSpec>[];

export const OVERHEAD_HEAD = ['node, platform systrap', 'pod', 'pod outside gVisor', 'n'];

/** The same shell waits in each. */
const IDLE = { command: ['sh', '-c', 'sleep 1000000'] };
/** The kubelet reads its statistics every ten seconds or so. */
const SETTLE_S = 60;

/** The memory of idle pods as their kubelet reports it, inside gVisor and outside: medians. */
export async function measureOverhead(cluster: Cluster, pods: number): Promise<string[][]> {
  await cluster.kubectl(['apply', '-f', '-'], runtimeClass('gvisor', 'runsc'));
  const names: string[] = [];
  for (const { name: nodeName } of OVERHEAD_NODES)
    for (const gvisor of [true, false])
      for (let n = 0; n < pods; n++) {
        const name = `${nodeName}-${gvisor ? 'inside' : 'outside'}-${n}`;
        names.push(`pod/${name}`);
        await cluster.kubectl(
          ['apply', '-f', '-'],
          evaluationPod(name, { gvisor, spec: { nodeName }, container: IDLE }),
        );
      }
  await cluster.kubectl(['wait', ...names, '--for=condition=Ready', '--timeout=5m'], undefined, 360_000);
  await pause(SETTLE_S);
  return Promise.all(
    OVERHEAD_NODES.map(async ({ name: node }) => {
      const text = await cluster.get(`/api/v1/nodes/${node}/proxy/metrics/resource`);
      const median = (where: string) => {
        const found = text.matchAll(
          new RegExp(`^pod_memory_working_set_bytes\\{.*pod="${node}-${where}-.*\\} (\\S+)`, 'gm'),
        );
        const values = [...found].map(([, bytes]) => Number(bytes));
        if (values.length !== pods)
          throw new Error(`The kubelet of ${node} has the memory of ${values.length} pods`);
        return `${mebibytes(quantile(values, 0.5) ?? Number.NaN)} MiB`;
      };
      return [node, median('inside'), median('outside'), String(pods)];
    }),
  );
}
