import { join } from 'node:path';
import { removeCluster } from '../cluster/remove.ts';
import { startCluster } from '../cluster/start.ts';
import { deployAgent, secondsUntilLabel } from '../cluster/story.ts';
import { REPO } from '../hack/paths.ts';
import { install, installWords, putInstaller, releaseOf, runInstaller } from '../test/e2e/installer-nodes.ts';
import { containerOf, endContainer, runEndable, waitForRestart } from '../test/e2e/upgraded-pods.ts';
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

/** Times of installations on a node without gVisor, and what an upgrade does to running pods. */
export async function measureInstaller(
  name: string,
  { runs, pods }: { readonly runs: number; readonly pods: number },
): Promise<{ readonly times: string[][]; readonly counts: string[][] }> {
  const nodes = [{ name: NODE, gvisor: 'none' }] as const;
  const cluster = await startCluster({ name, nodes, images: ['workload', 'agent'] });
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  await putInstaller(cluster);
  const pid = () => cluster.node(NODE).system.run(['pidof', 'containerd']);

  const ended: number[] = [];
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
    const add = () => timed(ended, () => install(NODE, NEW));
    labelled.push((await secondsUntilLabel(cluster, NODE, 'true', add)) * 1000);
    const take = () => timed(removed, remove);
    await secondsUntilLabel(cluster, NODE, 'false', take);
  }

  await install(NODE, OLD);
  const names = Array.from({ length: pods }, (_, at) => `resident-${at}`);
  for (let at = 0; at < pods; at += BATCH)
    await Promise.all(names.slice(at, at + BATCH).map((pod) => runEndable(cluster, NODE, pod)));
  const see = () => Promise.all(names.map((pod) => containerOf(cluster, pod)));
  const before = await see();
  await install(NODE, NEW);
  const after = await see();
  const disturbed = after.filter((pod, at) => JSON.stringify(pod) !== JSON.stringify(before[at]));
  await Promise.all(names.map((pod) => endContainer(cluster, pod)));
  await Promise.all(names.map((pod) => waitForRestart(cluster, pod, 1)));
  const releases = await Promise.all(before.map(({ uid }) => releaseOf(NODE, uid)));
  const onTheirs = releases.filter((release) => release === `release-${OLD}`);
  const containerd = await pid();
  const { code } = await runInstaller(NODE, installWords(BROKEN));
  const restarts = containerd === (await pid()) ? '0' : '1';
  await removeCluster(name);
  return {
    times: [
      statistics('node without gVisor → installed and proven', '', ended),
      statistics('  → label true', '≤ 20 s', labelled),
      statistics('containerd away', '≤ 2 s', away),
      statistics('removed again, and runc proven', '', removed),
    ],
    counts: [
      [`upgrade under ${pods} pods: disturbed`, '0', String(disturbed.length)],
      ['  containers that then restart on their release', String(pods), String(onTheirs.length)],
      [
        'a release that does not boot: refused, restarts',
        'yes, 0',
        `${code === 1 ? 'yes' : 'no'}, ${restarts}`,
      ],
    ],
  };
}
