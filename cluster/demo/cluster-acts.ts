import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { REPO } from '../../hack/paths.ts';
import { print } from '../../hack/progress.ts';
import { markedLines, truncateText } from '../../lib/report/table.ts';
import type { Cluster } from '../cluster.ts';
import { breakAndWait, healAndWait } from '../faults/break-node.ts';
import { deployAgent, READY_LABEL, secondsUntilLabel, viewNodes } from '../labels.ts';
import { CONTAINERD_CONFIG } from '../node/config.ts';
import { ensureRelease, installerCommand, type ReleaseName } from '../node/installer.ts';
import type { ClusterNode } from '../node/node.ts';
import { evaluationPod, runPod } from '../pods.ts';
import { startHeldCluster } from '../start.ts';
import { showNodes } from './live-nodes.ts';
import { bold, done, expect, say, screenWidth, secondsSince, title } from './screen.ts';

const STEP_WIDTH = 11;

/** All that these acts need beside the tools of the acts on one node. */
export const CLUSTER_TOOLS = ['kubernetes', 'etcd', 'cni', 'runc'] as const;
export const CLUSTER_IMAGES = ['workload', 'agent'] as const;

/** manifests/base, and the handler of the second act. */
const MANIFESTS = join(REPO, 'cluster/additional-handler');
const DEBUG_CLASS = 'gvisor-debug';
const DEBUG_HANDLER = 'runsc-debug';

/** The default cluster's older programs would be two more builds on the first run. */
const NODES = [{ name: 'node-1' }, { name: 'node-2' }, { name: 'node-3', gvisor: 'none' }] as const;

/** The agent and the installer on a real cluster, which stays. The caller holds its lock. */
export async function playClusterActs(name: string): Promise<void> {
  const begun = performance.now();
  const cluster = await startHeldCluster({ name, nodes: NODES, images: CLUSTER_IMAGES });
  say(`up in ${secondsSince(begun)}: real kube-apiserver, scheduler, kubelets, containerd and runsc`);

  title('The agent is deployed to every node');
  say('The label that it grants is the one that the RuntimeClass "gvisor" selects.');
  const nodes = await showNodes(cluster, () => deployAgent(cluster, MANIFESTS));
  expect(
    nodes.map(({ ready }) => ready).join(' ') === 'true true false',
    'two nodes are proven, the third is not',
  );

  title('node-3 gets gVisor from the installer, which first boots the release beside what is there');
  const third = cluster.node('node-3');
  const containerd = () =>
    Promise.all([third.system.read(CONTAINERD_CONFIG), third.machine.daemonPid('containerd')]);
  const before = await containerd();
  say('A release that cannot boot:');
  const broken = await installer(third, 'broken');
  expect(
    (await broken()) === 1 && isDeepStrictEqual(await containerd(), before),
    'refused; containerd was not restarted, and its configuration has not changed',
  );
  say('A release that can:');
  const current = await installer(third, 'current');
  let doneAfter = '';
  const labelled = await secondsUntilLabel(cluster, third.name, 'true', async () => {
    const from = performance.now();
    if ((await current()) !== 0) throw new Error('The installer refused a release that boots');
    doneAfter = secondsSince(from);
  });
  done(
    `the installer was done after ${doneAfter}, and the label came ${bold(`${labelled.toFixed(1)} s`)} after its start`,
  );

  title('A pod asks for the RuntimeClass "gvisor" and names no node');
  const home = await runPod(cluster, 'evaluation-1', evaluationPod('evaluation-1', { gvisor: true }));
  const inside = await kernelIn(cluster, 'evaluation-1');
  const outside = (await readFile('/proc/version', 'utf8')).trim();
  say(`It runs on ${home}, and sees ${inside},`);
  say(`while the host runs ${/^\S+ \S+ [\d.]+/.exec(outside)?.[0]}.`);
  expect(inside !== outside, "the kernel inside is not the host's");

  title(`${home} loses its gVisor shim, as a bad upgrade would take it`);
  say('Nothing else would notice before the next pod hangs in ContainerCreating.');
  const gone = await showNodes(cluster, () => breakAndWait(cluster, home, 'shim-missing'));
  done(
    `its label was withdrawn ${bold(`${gone.toFixed(2)} s`)} after the file went, confirmed by a second evaluation`,
  );
  const why = (await viewNodes(cluster)).find(({ name }) => name === home)?.message ?? '';
  say(truncateText(`because ${why}`, screenWidth() - 3));
  const phase = await cluster.kubectl(['get', 'pod', 'evaluation-1', '-o', 'jsonpath={.status.phase}']);
  expect(phase === 'Running', 'the pod that ran there runs on: nothing healthy was killed');

  title('The next pod avoids the broken node');
  const other = await runPod(cluster, 'evaluation-2', evaluationPod('evaluation-2', { gvisor: true }));
  expect(other !== home, `it runs on ${other}`);

  title(`${home} is repaired`);
  const back = await showNodes(cluster, () => healAndWait(cluster, home, 'shim-missing'));
  done(`its label came back ${bold(`${back.toFixed(2)} s`)} later, after a fresh proof`);

  title(`${third.name} gets a second handler: the same release with other flags, under a label of its own`);
  const debug = await installer(third, 'current', ['--handler', DEBUG_HANDLER, '--flag', 'debug=true']);
  const label = `${READY_LABEL}-${DEBUG_HANDLER}`;
  const second = await secondsUntilLabel(
    cluster,
    third.name,
    'true',
    async () => {
      if ((await debug()) !== 0) throw new Error('The installer refused the second handler');
    },
    { label },
  );
  done(`the label ready-${DEBUG_HANDLER} came ${bold(`${second.toFixed(1)} s`)} after the start`);

  title(`${third.name}'s main handler breaks, its second does not`);
  await showNodes(cluster, () => breakAndWait(cluster, third.name, 'shim-missing'));
  const plain = await runPod(cluster, 'evaluation-3', evaluationPod('evaluation-3', { gvisor: true }));
  expect(plain !== third.name, `a pod of the RuntimeClass "gvisor" runs on ${plain}`);
  const pod = evaluationPod('evaluation-4', { gvisor: true, runtimeClass: DEBUG_CLASS });
  const placed = await runPod(cluster, 'evaluation-4', pod);
  expect(placed === third.name, `a pod of "${DEBUG_CLASS}" runs on ${placed}, the only node that has it`);
  say(`It sees ${await kernelIn(cluster, 'evaluation-4')}.`);

  title(`${third.name}'s main handler is repaired, and its second breaks`);
  await healAndWait(cluster, third.name, 'shim-missing');
  const removed = await secondsUntilLabel(
    cluster,
    third.name,
    'false',
    async () => third.remove((await third.gvisor(DEBUG_HANDLER))?.shim ?? ''),
    { label },
  );
  const { ready } = (await viewNodes(cluster)).find(({ name }) => name === third.name) ?? {};
  expect(
    ready === 'true',
    `its label ready-${DEBUG_HANDLER} went after ${bold(`${removed.toFixed(2)} s`)}; the label ready stays`,
  );
}

/** A function that shows the installer's lines as they come and resolves with its exit code. */
async function installer(
  node: ClusterNode,
  release: ReleaseName,
  options: readonly string[] = [],
): Promise<() => Promise<number>> {
  const words = ['--json', 'install', '--release', await ensureRelease(release), ...options];
  const [program, ...args] = await installerCommand(node, words);
  return async () => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', showStep);
    const [code] = (await once(child, 'close')) as [number | null];
    return code ?? 1;
  };
}

function showStep(line: string): void {
  const { step, state, text, message = text } = JSON.parse(line) as Record<string, string>;
  const tone = state === 'pass' || state === 'skipped' ? state : 'fail';
  const label = String(step).padEnd(STEP_WIDTH);
  const short = truncateText(String(message), screenWidth() - STEP_WIDTH - 7);
  print(
    markedLines(tone, short, {
      indent: '     ',
      label,
      colored: process.stdout.isTTY,
      width: screenWidth(),
    }).join('\n'),
  );
}

async function kernelIn(cluster: Cluster, pod: string): Promise<string> {
  return (await cluster.kubectl(['exec', pod, '--', 'cat', '/proc/version'])).trim();
}
