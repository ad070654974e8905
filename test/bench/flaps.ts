import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { pause } from '../../hack/run.ts';
import { readinessOf, readNode } from '../e2e/agents.ts';
import { provenAgain, replaceAgent, upgradeInPlace } from '../e2e/disturb.ts';

/** The count of each disturbance, and the seconds without the API server. */
export type Disturbances = {
  readonly agents: number;
  readonly containerds: number;
  readonly upgrades: number;
  readonly apiDownS: number;
};

const POD = 'bench-resident';

/**
 * Disturbs a proven node with a gVisor pod in every way that must not withdraw its label, and counts changes of the condition
 * by its `lastTransitionTime`, which also shows brief ones.
 */
export async function measureFlaps(
  cluster: Cluster,
  node: ClusterNode,
  { agents, containerds, upgrades, apiDownS }: Disturbances,
): Promise<string[][]> {
  await runPod(cluster, POD, evaluationPod(POD, { gvisor: true }));
  await provenAgain(cluster, node.name);
  const since = async () => readinessOf(await readNode(cluster, node.name)).since;
  const rows: string[][] = [];
  let last = await since();
  const count = async (what: string, times: number, disturb: (time: number) => Promise<void>) => {
    let flaps = 0;
    const sample = async () => {
      const now = await since();
      if (now !== last) flaps += 1;
      last = now;
    };
    for (let time = 0; time < times; time++) {
      await disturb(time);
      await sample();
    }
    await provenAgain(cluster, node.name);
    await sample();
    rows.push([`flaps in ${what}`, '0', String(flaps)]);
  };
  await count(`${agents} restarts of the agent`, agents, (time) =>
    replaceAgent(cluster, node.name, time % 2 ? 'force' : 'graceful'),
  );
  await count(`${containerds} restarts of containerd`, containerds, () => node.restart('containerd'));
  await count(`${upgrades} upgrades of runsc in place`, upgrades, () => upgradeInPlace(node));
  await count(`${apiDownS} s without the API server`, 1, async () => {
    await breakNode(cluster, node, 'api-down');
    await pause(apiDownS);
    await healNode(cluster, node, 'api-down');
    await cluster.waitForNodes();
  });
  const path = 'jsonpath={.status.phase}, {.status.containerStatuses[0].restartCount} restarts';
  rows.push([
    'the gVisor pod on the node, after all of it',
    'Running, 0 restarts',
    await cluster.kubectl(['get', 'pod', POD, '-o', path]),
  ]);
  await cluster.kubectl(['delete', 'pod', POD, '--grace-period=0', '--force']);
  return rows;
}
