import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual, styleText } from 'node:util';
import { REPO } from '../hack/paths.ts';
import { runMain, untilStopped } from '../hack/run.ts';
import { markedLines, truncateText } from '../lib/report/table.ts';
import type { Cluster } from './cluster.ts';
import { ensureRelease, installerCommand, type ReleaseName } from './installer.ts';
import { showNodes } from './live-nodes.ts';
import { locked } from './lock.ts';
import { CONTAINERD_CONFIG } from './node/config.ts';
import type { ClusterNode } from './node/node.ts';
import { removeCluster, removeHeldCluster } from './remove.ts';
import { startHeldCluster } from './start.ts';
import {
  breakAndWait,
  deployAgent,
  evaluationPod,
  healAndWait,
  READY_LABEL,
  runPod,
  secondsUntilLabel,
  viewNodes,
} from './story.ts';

const NAME = 'demo';
/** Characters. */
const WIDTH = 100;
const STEP_WIDTH = 11;
const TAKING_DOWN = '\nTaking the cluster down …';
const terminal = process.stdout.isTTY;

/** manifests/base, and the handler of the second act. */
const MANIFESTS = join(REPO, 'cluster/additional-handler');
const DEBUG_CLASS = 'gvisor-debug';
const DEBUG_HANDLER = 'runsc-debug';

/** The default cluster's older programs would be two more builds on the first run. */
const NODES = [{ name: 'node-1' }, { name: 'node-2' }, { name: 'node-3', gvisor: 'none' }] as const;

/** Recreates the demo's cluster without further builds. */
const AGAIN = [
  'npm run cluster -- --name demo up --node name=node-1 --node name=node-2 --node name=node-3,gvisor=none',
  'npm run cluster -- --name demo load',
  'npm run cluster -- --name demo kubectl apply -k cluster/additional-handler',
  'npm run cluster -- --name demo install node-3 current',
];

const TRY = [
  'npm run cluster -- --name demo status',
  'npm run cluster -- --name demo kubectl describe node node-1',
  'npm run cluster -- faults',
  'npm run cluster -- --name demo break node-2 runsc-cannot-boot',
  'npm run cluster -- --name demo kubectl get events -A --watch',
];

await runMain(async () => {
  const stopped = untilStopped();
  const stays = await locked(NAME, () => tell(stopped));
  if (!stays) return;
  const alive = setInterval(() => {}, 60_000); // a signal handler alone does not keep the process alive
  await stopped;
  clearInterval(alive);
  say(TAKING_DOWN);
  await removeCluster(NAME);
});

/** Tells the story while no other command may touch the cluster. Returns whether the cluster stays. */
async function tell(stopped: ReturnType<typeof untilStopped>): Promise<boolean> {
  let outcome: 'done' | 'stopped' | undefined;
  try {
    await removeHeldCluster(NAME); // left by a killed demo
    outcome = await Promise.race([runStory(), stopped]);
  } finally {
    if (outcome !== 'done' || !terminal) {
      say(TAKING_DOWN);
      await removeHeldCluster(NAME);
    }
  }
  if (outcome === 'stopped') process.exit(130); // also ends a build
  if (terminal) {
    say(`\n${bold('The cluster stays until you press Ctrl-C.')} Try in another terminal:`);
    for (const command of TRY) say(`  ${command}`);
    return true;
  }
  say('\n   To try next, on a cluster that stays until `npm run cluster -- --name demo down`:');
  for (const command of [...AGAIN, ...TRY]) say(`     ${command}`);
  return false;
}

async function runStory(): Promise<'done'> {
  title('1. A real cluster on this machine: three nodes, gVisor on the first two');
  const begun = performance.now();
  const cluster = await startHeldCluster({ name: NAME, nodes: NODES, images: ['workload', 'agent'] });
  say(`   up in ${secondsSince(begun)}: real kube-apiserver, scheduler, kubelets, containerd and runsc`);

  title('2. The agent is deployed to every node');
  say('   It boots a real sandbox through the handler that pods use, and sees whose it is, before it');
  say('   grants the label that the RuntimeClass "gvisor" selects.');
  const nodes = await showNodes(cluster, () => deployAgent(cluster, MANIFESTS));
  expect(
    nodes.map(({ ready }) => ready).join(' ') === 'true true false',
    'two nodes are proven, the third is not',
  );

  title('3. node-3 gets gVisor from the installer, which first boots the release beside what is there');
  const third = cluster.node('node-3');
  const containerd = () =>
    Promise.all([third.system.read(CONTAINERD_CONFIG), third.machine.daemonPid('containerd')]);
  const before = await containerd();
  say('   A release that cannot boot:');
  const broken = await installer(third, 'broken');
  expect(
    (await broken()) === 1 && isDeepStrictEqual(await containerd(), before),
    'refused; containerd was not restarted, and its configuration has not changed',
  );
  say('   A release that can:');
  const current = await installer(third, 'current');
  let doneAfter = '';
  const labelled = await secondsUntilLabel(cluster, third.name, 'true', async () => {
    const from = performance.now();
    if ((await current()) !== 0) throw new Error('The installer refused a release that boots');
    doneAfter = secondsSince(from);
  });
  expect(
    true,
    `the installer was done after ${doneAfter}, and the label came ${bold(`${labelled.toFixed(1)} s`)} after its start`,
  );

  title('4. A pod asks for the RuntimeClass "gvisor" and names no node');
  const home = await runPod(cluster, 'evaluation-1', evaluationPod('evaluation-1', { gvisor: true }));
  const inside = await kernelIn(cluster, 'evaluation-1');
  const outside = (await readFile('/proc/version', 'utf8')).trim();
  say(`   runs on ${home}, and sees   ${inside}`);
  say(`   while the host runs   ${/^\S+ \S+ [\d.]+/.exec(outside)?.[0]}`);
  expect(inside !== outside, "the kernel inside is not the host's");

  title(`5. ${home} loses its gVisor shim, as a bad upgrade would take it`);
  say('   Nothing else would notice before the next pod hangs in ContainerCreating. The agent sees the');
  say('   file go, cannot boot a sandbox any more, evaluates once more, and takes the label away.');
  const gone = await showNodes(cluster, () => breakAndWait(cluster, home, 'shim-missing'));
  expect(
    true,
    `its label was withdrawn ${bold(`${gone.toFixed(2)} s`)} after the file went, confirmed by a second evaluation`,
  );
  const why = (await viewNodes(cluster)).find(({ name }) => name === home)?.message ?? '';
  say(`   because ${truncateText(why, WIDTH - 11)}`);
  const phase = await cluster.kubectl(['get', 'pod', 'evaluation-1', '-o', 'jsonpath={.status.phase}']);
  expect(phase === 'Running', 'the pod that ran there runs on: nothing healthy was killed');

  title('6. The next pod avoids the broken node');
  const other = await runPod(cluster, 'evaluation-2', evaluationPod('evaluation-2', { gvisor: true }));
  expect(other !== home, `it runs on ${other}`);

  title(`7. ${home} is repaired`);
  const back = await showNodes(cluster, () => healAndWait(cluster, home, 'shim-missing'));
  expect(true, `its label came back ${bold(`${back.toFixed(2)} s`)} later, after a fresh proof`);

  title(
    `8. ${third.name} gets a second handler: the same release with other flags, under a label of its own`,
  );
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
  expect(true, `the label ready-${DEBUG_HANDLER} came ${bold(`${second.toFixed(1)} s`)} after the start`);

  title(`9. ${third.name}'s main handler breaks, its second does not`);
  await showNodes(cluster, () => breakAndWait(cluster, third.name, 'shim-missing'));
  const plain = await runPod(cluster, 'evaluation-3', evaluationPod('evaluation-3', { gvisor: true }));
  expect(plain !== third.name, `a pod of the RuntimeClass "gvisor" runs on ${plain}`);
  const pod = evaluationPod('evaluation-4', { gvisor: true, runtimeClass: DEBUG_CLASS });
  const placed = await runPod(cluster, 'evaluation-4', pod);
  expect(placed === third.name, `a pod of "${DEBUG_CLASS}" runs on ${placed}, the only node that has it`);
  say(`   and sees   ${await kernelIn(cluster, 'evaluation-4')}`);

  title(`10. ${third.name}'s main handler is repaired, and its second breaks`);
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
  return 'done';
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
  const short = truncateText(String(message), WIDTH - STEP_WIDTH - 7);
  say(markedLines(tone, short, { indent: '     ', label, colored: terminal, width: WIDTH }).join('\n'));
}

function secondsSince(begunMs: number): string {
  return `${((performance.now() - begunMs) / 1000).toFixed(1)} s`;
}

async function kernelIn(cluster: Cluster, pod: string): Promise<string> {
  return (await cluster.kubectl(['exec', pod, '--', 'cat', '/proc/version'])).trim();
}

function expect(held: boolean, what: string): void {
  if (!held) throw new Error(`This did not hold: ${what}`);
  say(`   ${styleText('green', '✓')} ${what}`);
}

function title(text: string): void {
  say(`\n${bold(text)}`);
}

function bold(text: string): string {
  return styleText('bold', text);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
