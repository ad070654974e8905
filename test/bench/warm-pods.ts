import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode } from '../../cluster/faults/break-node.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod, healAndWait, runPod } from '../../cluster/story.ts';
import { ensurePython } from '../../hack/python.ts';
import { pause, waitFor } from '../../hack/run.ts';
import { PYTHON } from '../e2e/dispatcher-run.ts';
import { quantile, statistics } from './statistics.ts';

const FAULT = 'shim-missing';
const CLAIMS = 100;
const PACE_S = 0.1;
const POD = 'warm';
/** For each line on its standard input, whether the pod runs in gVisor on a node that is proven. */
const EXPLAIN = `
import sys
from kubernetes import client, config
from gvisor_dispatch import Dispatcher
config.load_config()
with Dispatcher(client.ApiClient()) as dispatcher:
    for _ in sys.stdin:
        pod = {"metadata": {"name": "${POD}", "namespace": "default"}}
        print(dispatcher.explain(pod).in_gvisor, flush=True)
`;

/**
 * How many of {@link CLAIMS} claims keep a warm pod whose node breaks as the first is made, and how long after the fault the
 * last of them is. Each asks `explain` as docs/agent-sandbox.md has it; without that, all keep it.
 */
export async function measureClaims(cluster: Cluster, node: ClusterNode, runs: number): Promise<string[][]> {
  await runPod(cluster, POD, evaluationPod(POD, { gvisor: true, spec: { nodeName: node.name } }));
  const env = { ...process.env, ...PYTHON, KUBECONFIG: cluster.kubeconfig };
  const python = spawn(await ensurePython(), ['-c', EXPLAIN], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  const isKept = async () => {
    python.stdin.write('\n');
    const { value } = await answers.next();
    return value === 'True';
  };
  const [kept, lastMs]: [number[], number[]] = [[], []];
  try {
    for (let run = 0; run < runs; run++) {
      await waitFor('a pod that runs in gVisor', 60_000, async () => (await isKept()) || undefined);
      const begun = performance.now();
      const sinceMs = () => performance.now() - begun;
      const claim = async () => {
        let [count, last] = [0, 0];
        for (let at = 0; at < CLAIMS; at++) {
          await pause(Math.max(0, at * PACE_S - sinceMs() / 1000));
          if (!(await isKept())) continue;
          count++;
          last = sinceMs();
        }
        kept.push(count);
        lastMs.push(last);
      };
      await Promise.all([breakNode(cluster, node, FAULT), claim()]);
      await healAndWait(cluster, node.name, FAULT);
    }
  } finally {
    python.kill();
    await cluster.kubectl(['delete', 'pod', POD, '--force', '--grace-period=0']);
  }
  const [median, most] = [quantile(kept, 0.5), quantile(kept, 1)];
  return [
    [`of ${CLAIMS} claims in 10 s keep a warm pod`, '', String(median), String(most), String(runs)],
    statistics(`${FAULT} → last of them`, '', lastMs),
  ];
}
