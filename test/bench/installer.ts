import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent, secondsUntilLabel } from '../../cluster/labels.ts';
import { startCluster } from '../../cluster/start.ts';
import { REPO } from '../../hack/paths.ts';
import { install, installWords, putInstaller, releaseOf, runInstaller } from '../e2e/installer-nodes.ts';
import { containerOf, endContainer, runEndable, waitForRestart } from '../e2e/upgraded-pods.ts';
import { statistics } from './statistics.ts';

const NODE = 'node-1';
const [OLD, NEW, BROKEN] = ['20250203.0', '20260223.0', '20260224.0'];
/** Pods that start at the same time. */
const BATCH = 5;

async function remove(): Promise<string> {
  const { code, text } = await runInstaller(NODE, ['remove']);
  if (code !== 0) throw new Error(text);
  return text;
}

/** Starts a cluster of one node without gVisor, with the installer on it. */
export async function startNode(name: string): Promise<Cluster> {
  const nodes = [{ name: NODE, gvisor: 'none' }] as const;
  const cluster = await startCluster({ name, nodes, images: ['workload', 'agent'] });
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await putInstaller(cluster);
  return cluster;
}

/** Times of installations on a node without gVisor, each taken away again. */
export async function measureInstalls(cluster: Cluster, runs: number): Promise<string[][]> {
  const installed: number[] = [];
  const labelled: number[] = [];
  const away: number[] = [];
  const removed: number[] = [];
  const timed = async (times: number[], work: () => Promise<string>) => {
    const begun = performance.now();
    const text = await work();
    times.push(performance.now() - begun);
    away.push(Number(/was away for ([\d.]+) s/.exec(text)?.[1]) * 1000);
  };
  for (let run = 0; run < runs; run++) {
    const add = () => timed(installed, () => install(NODE, NEW));
    labelled.push((await secondsUntilLabel(cluster, NODE, 'true', add)) * 1000);
    const take = () => timed(removed, remove);
    await secondsUntilLabel(cluster, NODE, 'false', take);
  }
  return [
    statistics('node without gVisor → installed and proven', '', installed),
    statistics('  → label true', '≤ 8 s', labelled),
    statistics('containerd away', '≤ 1 s', away),
    statistics('removed again, and runc proven', '', removed),
  ];
}

/** What an upgrade under running pods, and a release that does not boot, do to the node. */
export async function measureUpgrade(cluster: Cluster, pods: number): Promise<string[][]> {
  await install(NODE, OLD);
  const names = Array.from({ length: pods }, (_, at) => `resident-${at}`);
  for (let at = 0; at < pods; at += BATCH)
    await Promise.all(names.slice(at, at + BATCH).map((pod) => runEndable(cluster, NODE, pod)));
  const see = () => Promise.all(names.map((pod) => containerOf(cluster, pod)));
  const before = await see();
  await install(NODE, NEW);
  const after = await see();
  const disturbed = after.filter((pod, at) => JSON.stringify(pod) !== JSON.stringify(before[at]));
  // A container may end before its command's exit is known; that it did end shows in its restart.
  await Promise.all(names.map((pod) => endContainer(cluster, pod).catch(() => {})));
  await Promise.all(names.map((pod) => waitForRestart(cluster, pod, 1)));
  const releases = await Promise.all(before.map(({ uid }) => releaseOf(NODE, uid)));
  const pid = () => cluster.node(NODE).system.run(['pidof', 'containerd']);
  const containerd = await pid();
  const { code } = await runInstaller(NODE, installWords(BROKEN));
  const outcome = `${code === 1 ? 'yes' : 'no'}, ${containerd === (await pid()) ? '0' : '1'}`;
  return [
    [`upgrade under ${pods} pods: disturbed`, '0', String(disturbed.length)],
    [
      '  containers that then restart on their own release',
      String(pods),
      String(releases.filter((release) => release === `release-${OLD}`).length),
    ],
    ['a release that does not boot: refused, restarts', 'yes, 0', outcome],
  ];
}
