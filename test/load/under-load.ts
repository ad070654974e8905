import { setTimeout as pause } from 'node:timers/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import { processesIn } from '../../cluster/machine/machine.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { agentOn, readinessOf, readMetrics, readNode } from '../e2e/agents.ts';
import { cgroupsOfProbes } from '../e2e/own-cgroup.ts';

/** A shell script that uses a whole processor. */
export const BURN = 'while :; do :; done';

/** One that writes 200 MiB and waits for the disk, again and again. */
export const FILL_DISK =
  'while :; do dd if=/dev/zero of=/tmp/fill bs=1M count=200 conv=fsync 2>/dev/null; done';

/** The effect of a load on a proven node; counts are differences between before and after. */
export type Effect = {
  /** Observed seconds without the label. */
  readonly lostS: number;
  readonly transitions: number;
  readonly writes: number;
  readonly restarts: number;
  readonly sandboxes: number;
  readonly cgroups: number;
  readonly outcomes: ReadonlyMap<string, number>;
  /** Seconds from the end of the load to the next proof. */
  readonly backS: number;
};

/** Puts a load on a proven node, waits for a proof after its end, and returns its effect. */
export async function underLoad(
  cluster: Cluster,
  node: ClusterNode,
  work: () => Promise<void>,
): Promise<Effect> {
  const before = { ...(await countsOf(cluster, node)), ...(await minOrphans(node)) };
  const watch = watchLabel(cluster, node);
  await work();
  const endedMs = Date.now();
  await waitFor('a proof that began after the load', 300_000, async () => {
    const text = await readMetrics(cluster, node.name);
    const at = Number(/^gvisor_ready_last_proof_timestamp_seconds (\S+)$/m.exec(text)?.[1] ?? 0);
    return at > endedMs / 1_000;
  });
  const backS = (Date.now() - endedMs) / 1_000;
  const remaining = await waitForOrphans(node, before);
  const lostS = await watch();
  const after = await countsOf(cluster, node);
  const more = (name: 'transitions' | 'writes' | 'restarts') => after[name] - before[name];
  const outcomes = [...after.outcomes].map(
    ([outcome, count]) => [outcome, count - (before.outcomes.get(outcome) ?? 0)] as const,
  );
  return {
    lostS,
    transitions: more('transitions'),
    writes: more('writes'),
    restarts: more('restarts'),
    sandboxes: remaining.sandboxes - before.sandboxes,
    cgroups: remaining.cgroups - before.cgroups,
    outcomes: new Map(outcomes.filter(([, count]) => count > 0)),
    backS,
  };
}

/** Polls the label every second. The returned function stops and returns the seconds in which it was not "true". */
function watchLabel(cluster: Cluster, node: ClusterNode): () => Promise<number> {
  let lostS = 0;
  let on = true;
  const run = (async () => {
    while (on) {
      const readiness = await readNode(cluster, node.name).then(readinessOf, () => undefined);
      if (readiness !== undefined && readiness.ready !== 'true') lostS += 1;
      await pause(1_000);
    }
  })();
  return async () => {
    on = false;
    await run;
    return lostS;
  };
}

/** The agent's counts since its start. */
async function countsOf(cluster: Cluster, node: ClusterNode) {
  const text = await waitFor('the metrics', 60_000, () => readMetrics(cluster, node.name));
  const sum = (pattern: RegExp) =>
    [...text.matchAll(pattern)].reduce((total, [, count]) => total + Number(count), 0);
  const { restarts } = await agentOn(cluster, node.name);
  return {
    transitions: sum(/^gvisor_ready_transitions_total\{[^}]*\} (\S+)$/gm),
    // Without the dry runs that ask for the guard, which are refused.
    writes: sum(/^gvisor_ready_api_requests_total\{verb="PATCH",code="2[^}]*\} (\S+)$/gim),
    outcomes: outcomesIn(text),
    restarts,
  };
}

/** Counts of sandboxes on a node, and of cgroups of probes. */
type Orphans = { readonly sandboxes: number; readonly cgroups: number };

function orphansOn(node: ClusterNode): Orphans {
  return {
    sandboxes: processesIn(node.machine).filter(({ argv }) => argv[0] === 'runsc-sandbox').length,
    cgroups: cgroupsOfProbes(node).length,
  };
}

/** The minimum over five seconds, because a probe may be running. */
async function minOrphans(node: ClusterNode): Promise<Orphans> {
  let least = orphansOn(node);
  for (let time = 0; time < 10; time++) {
    await pause(500);
    const now = orphansOn(node);
    least = {
      sandboxes: Math.min(least.sandboxes, now.sandboxes),
      cgroups: Math.min(least.cgroups, now.cgroups),
    };
  }
  return least;
}

/** Waits until the counts are at most those of `before`; returns the last counts. */
function waitForOrphans(node: ClusterNode, before: Orphans): Promise<Orphans> {
  return waitFor('orphans of probes to be removed', 60_000, async () => {
    const now = orphansOn(node);
    return now.sandboxes <= before.sandboxes && now.cgroups <= before.cgroups ? now : undefined;
  }).catch(() => orphansOn(node));
}

/** Probes by outcome since the agent started. */
function outcomesIn(metrics: string): ReadonlyMap<string, number> {
  const found = metrics.matchAll(/^gvisor_ready_probes_total\{outcome="([^"]+)"\} (\S+)$/gm);
  return new Map([...found].map(([, outcome = '', count]) => [outcome, Number(count)]));
}

/** A shell script for a pod with a memory limit, such as "32Mi". */
export type LimitedScript = { readonly script: string; readonly memory: string };

/** Starts a pod for each script. Outside gVisor, half of the pods without a limit are burstable, half best-effort. */
export async function startLoad(
  cluster: Cluster,
  node: ClusterNode,
  scripts: readonly (string | LimitedScript)[],
  gvisor = false,
): Promise<void> {
  const pods = scripts.map((load, index) => {
    const { script, memory } = typeof load === 'string' ? { script: load } : load;
    const usual = index % 2 === 0 ? { requests: { cpu: '100m' } } : {};
    const resources = memory === undefined ? usual : { limits: { memory } };
    const pod = evaluationPod(`load-${index}`, {
      gvisor,
      spec: { nodeName: node.name, restartPolicy: 'Never' },
      container: { command: ['sh', '-c', script], resources: gvisor ? {} : resources },
    });
    return JSON.parse(pod);
  });
  const list = { apiVersion: 'v1', kind: 'List', items: pods };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(list), 120_000);
}

/** Deletes all pods of {@link startLoad}. */
export async function endLoad(cluster: Cluster): Promise<void> {
  await cluster.kubectl(
    ['delete', 'pods', '-l', 'app=evaluation', '--grace-period=0', '--force', '--wait=true'],
    undefined,
    300_000,
  );
}
