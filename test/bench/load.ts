import { existsSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import type { Cluster } from '../../cluster/cluster.ts';
import { processesIn } from '../../cluster/machine/processes.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { agentOn, deployWith, readMetrics, readNode, saidOf, waitForNode } from '../e2e/agents.ts';
import { pause } from './statistics.ts';

/** How long each load lasts, in seconds, and how many gVisor pods are started. */
export type Loads = { readonly cpuS: number; readonly pressureS: number; readonly pods: number };

/** The head of the table. */
export const LOAD_HEAD = ['load', 'what', 'goal', 'measured'];

const PROOF_INTERVAL_S = 30;
/** Processes that want a CPU, for each CPU. */
const TIMES = 8;
const BURN = 'while :; do :; done';
const FILL_MEMORY = 'while :; do head -c 600M /dev/zero | tail -c 1 >/dev/null; done';
const FILL_DISK = 'while :; do dd if=/dev/zero of=/tmp/fill bs=1M count=200 conv=fsync 2>/dev/null; done';

/**
 * Puts loads on a proven node and tells what its label, the writes to its Node and the sandboxes on it came to. Half of
 * the pods are burstable, half best-effort.
 */
export async function measureLoad(cluster: Cluster, node: ClusterNode, loads: Loads): Promise<string[][]> {
  await deployWith(cluster, { PROOF_INTERVAL: `${PROOF_INTERVAL_S}s` });
  await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
  const burners = Array(cpus().length * TIMES).fill(BURN);
  const rows = [
    ...(await under(`CPU, ${burners.length} processes, ${loads.cpuS} s`, cluster, node, async () => {
      await startPods(cluster, node, burners);
      await pause(loads.cpuS);
      await removePods(cluster);
    })),
    ...(await under(`memory and disk, ${loads.pressureS} s`, cluster, node, async () => {
      await startPods(cluster, node, [
        ...burners.slice(0, 4),
        ...Array(4).fill(FILL_MEMORY),
        ...Array(4).fill(FILL_DISK),
      ]);
      await pause(loads.pressureS);
      await removePods(cluster);
    })),
    ...(await under(`${loads.pods} gVisor pods started`, cluster, node, async () => {
      for (let begun = 0; begun < loads.pods; begun += 10) {
        await startPods(cluster, node, Array(10).fill('sleep 1'), true);
        await pause(4);
        await removePods(cluster);
      }
    })),
  ];
  return rows;
}

/** The rows of one load: what was written and lost while it lasted, and what stayed after it. */
async function under(
  load: string,
  cluster: Cluster,
  node: ClusterNode,
  work: () => Promise<void>,
): Promise<string[][]> {
  const before = await countsOf(cluster, node);
  const watch = watchLabel(cluster, node);
  await work();
  const endedMs = Date.now();
  const seen = await watch();
  // A proof that began after the load has ended.
  await waitForProof(cluster, node, endedMs / 1_000);
  const backS = (Date.now() - endedMs) / 1_000;
  await pause(5);
  const after = await countsOf(cluster, node);
  const more = (name: 'transitions' | 'writes' | 'restarts') => String(after[name] - before[name]);
  return [
    [load, 'label not "true", seconds', '0', String(seen.lostS)],
    [load, 'changes of the condition', '0', more('transitions')],
    [load, 'writes to the Node', '0', more('writes')],
    [load, 'probes by outcome', '', moreOutcomes(before.outcomes, after.outcomes)],
    [load, 'sandboxes left behind', '0', String(after.sandboxes - before.sandboxes)],
    [load, 'cgroups left behind', '0', String(after.cgroups - before.cgroups)],
    [load, 'restarts of the agent', '0', more('restarts')],
    [load, 'end of load → next proof', '', `${backS.toFixed(1)} s`],
  ];
}

/** How many probes ended how, between two counts: "58 proven, 3 slow". */
function moreOutcomes(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string {
  return [...after]
    .map(([outcome, count]) => [outcome, count - (before.get(outcome) ?? 0)] as const)
    .filter(([, count]) => count > 0)
    .map(([outcome, count]) => `${count} ${outcome}`)
    .join(', ');
}

/** Follows the label, once a second, until it is asked what it saw. */
function watchLabel(cluster: Cluster, node: ClusterNode): () => Promise<{ readonly lostS: number }> {
  let lostS = 0;
  let on = true;
  const run = (async () => {
    while (on) {
      const said = await readNode(cluster, node.name).then(saidOf, () => undefined);
      if (said !== undefined && said.ready !== 'true') lostS += 1;
      await pause(1);
    }
  })();
  return async () => {
    on = false;
    await run;
    return { lostS };
  };
}

async function waitForProof(cluster: Cluster, node: ClusterNode, afterS: number): Promise<void> {
  for (let second = 0; second < 300; second++) {
    const at = await metric(cluster, node, /^gvisor_last_proof_timestamp_seconds (\S+)$/m);
    if (at > afterS) return;
    await pause(1);
  }
  throw new Error('No proof came within 300 s after the load');
}

async function countsOf(cluster: Cluster, node: ClusterNode) {
  const text = await readMetrics(cluster, node.name);
  const sum = (pattern: RegExp) =>
    [...text.matchAll(pattern)].reduce((total, [, count]) => total + Number(count), 0);
  const { restarts } = await agentOn(cluster, node.name);
  return {
    transitions: sum(/^gvisor_transitions_total\{[^}]*\} (\S+)$/gm),
    writes: sum(/^gvisor_api_requests_total\{verb="PATCH"[^}]*\} (\S+)$/gim),
    outcomes: outcomesIn(text),
    sandboxes: processesIn(node.machine).filter(({ argv }) => argv[0] === 'runsc-sandbox').length,
    cgroups: ownCgroups(node),
    restarts,
  };
}

/** How often probes ended in each way since the agent started; `slow` counts looks that a boot outlasted. */
export function outcomesIn(metrics: string): ReadonlyMap<string, number> {
  const found = metrics.matchAll(/^gvisor_probes_total\{outcome="([^"]+)"\} (\S+)$/gm);
  return new Map([...found].map(([, outcome = '', count]) => [outcome, Number(count)]));
}

async function metric(cluster: Cluster, node: ClusterNode, pattern: RegExp): Promise<number> {
  const text = await readMetrics(cluster, node.name).catch(() => '');
  return Number(pattern.exec(text)?.[1] ?? 0);
}

/** The cgroups in the probes' own place. */
function ownCgroups(node: ClusterNode): number {
  const folder = node.machine.path('/sys/fs/cgroup/cpu/kubepods/gvisor_ready');
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length;
}

async function startPods(
  cluster: Cluster,
  node: ClusterNode,
  commands: readonly string[],
  gvisor = false,
): Promise<void> {
  const pods = commands.map((command, index) => {
    const resources = index % 2 === 0 ? { requests: { cpu: '100m' } } : {};
    const pod = evaluationPod(`load-${index}`, {
      gvisor,
      spec: { nodeName: node.name, restartPolicy: 'Never' },
      container: { command: ['sh', '-c', command], resources: gvisor ? {} : resources },
    });
    return JSON.parse(pod);
  });
  const list = { apiVersion: 'v1', kind: 'List', items: pods };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(list), 120_000);
}

async function removePods(cluster: Cluster): Promise<void> {
  await cluster.kubectl(
    ['delete', 'pods', '-l', 'app=evaluation', '--grace-period=0', '--force', '--wait=true'],
    undefined,
    300_000,
  );
}
