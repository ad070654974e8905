import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { pause } from '../../hack/run.ts';
import { deployWith, waitForNode } from '../e2e/agents.ts';
import { BURN, endLoad, FILL_DISK, startLoad, underLoad } from '../load/under-load.ts';
import { quantile } from './statistics.ts';

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

/** Measures the effect of loads on a proven node: its label, writes to its Node, and sandboxes. */
export async function measureLoad(cluster: Cluster, node: ClusterNode, loads: Loads): Promise<string[][]> {
  await deployWith(cluster, { PROOF_INTERVAL: `${PROOF_INTERVAL_S}s` });
  await waitForNode(cluster, node.name, ({ ready }) => ready === 'true');
  const burners = Array<string>(cpus().length * TIMES).fill(BURN);
  const memoryAndDisk = `memory and disk, ${loads.pressureS} s`;
  const pressures: { memory: number; io: number }[] = [];
  const median = (resource: 'memory' | 'io') =>
    quantile(
      pressures.map((share) => share[resource]),
      0.5,
    )?.toFixed();
  return [
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
      `${median('memory')}, ${median('io')} %`,
    ],
  ];
}

/** PSI "some avg10" of a resource in percent. */
async function shareOf(resource: 'memory' | 'io'): Promise<number> {
  const text = await readFile(`/proc/pressure/${resource}`, 'utf8');
  return Number(/^some avg10=([\d.]+)/m.exec(text)?.[1] ?? 0);
}

/** Runs a load; returns its rows. */
async function under(
  load: string,
  cluster: Cluster,
  node: ClusterNode,
  work: () => Promise<void>,
): Promise<string[][]> {
  const effect = await underLoad(cluster, node, work);
  const outcomes = [...effect.outcomes].map(([outcome, count]) => `${count} ${outcome}`);
  return [
    [load, 'label not "true", seconds', '0', String(effect.lostS)],
    [load, 'changes of the condition', '0', String(effect.transitions)],
    [load, 'writes to the Node', '0', String(effect.writes)],
    [load, 'probes by outcome', '', outcomes.join(', ')],
    [load, 'sandboxes left behind', '0', String(effect.sandboxes)],
    [load, 'cgroups left behind', '0', String(effect.cgroups)],
    [load, 'restarts of the agent', '0', String(effect.restarts)],
    [load, 'end of load → next proof', '', `${effect.backS.toFixed(1)} s`],
  ];
}
