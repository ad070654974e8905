import { parseArgs } from 'node:util';
import { bundle } from '../../hack/bundle.ts';
import { print } from '../../hack/progress.ts';
import { runMain, UsageError, untilStopped } from '../../hack/run.ts';
import { requireKernel, requireRoot } from '../machine/host-checks.ts';
import { requireName } from '../plan/clusters.ts';
import { locked } from '../plan/lock.ts';
import { removeCluster, removeHeldCluster } from '../remove.ts';
import { ensureImage, ensureImages } from '../tools/images.ts';
import { ensurePrerequisites } from '../tools/prerequisites.ts';
import { startTools } from '../tools/tools.ts';
import { CLUSTER_IMAGES, CLUSTER_TOOLS, playClusterActs } from './cluster-acts.ts';
import { NODE_TOOLS, nodeActsName, playNodeActs } from './node-acts.ts';
import { bold, title } from './screen.ts';

const TAKING_DOWN = '\nTaking down what the demo made …';
const terminal = process.stdout.isTTY;

await runMain(async () => {
  const { name, node } = options();
  const stopped = untilStopped();
  const stays = await locked(name, () => tell(name, node, stopped));
  if (!stays) return;
  const alive = setInterval(() => {}, 60_000); // a signal handler alone does not keep the process alive
  await stopped;
  clearInterval(alive);
  print(TAKING_DOWN);
  await removeCluster(name);
});

function options() {
  try {
    const { values } = parseArgs({
      options: { name: { type: 'string', default: 'demo' }, node: { type: 'boolean', default: false } },
    });
    requireName(values.name);
    return values;
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new UsageError(`${why}. Usage: npm run demo -- [--node (without a cluster)] [--name NAME]`);
  }
}

/** Tells the story while no other command may touch the cluster. Returns whether the cluster stays. */
async function tell(
  name: string,
  onlyNode: boolean,
  stopped: ReturnType<typeof untilStopped>,
): Promise<boolean> {
  let outcome: 'node' | 'cluster' | 'stopped' | undefined;
  try {
    await removeAll(name); // left by a killed demo
    outcome = await Promise.race([play(name, onlyNode), stopped]);
  } finally {
    if (outcome !== 'cluster' || !terminal) {
      print(TAKING_DOWN);
      await removeAll(name);
    }
  }
  if (outcome === 'stopped') process.exit(130); // also ends a build
  if (outcome === 'node') return false;
  if (terminal) {
    print(`\n${bold('The cluster stays until you press Ctrl-C.')} Try in another terminal:`);
    for (const command of toTry(name)) print(`  ${command}`);
    return true;
  }
  print(`\n   To try next, on a cluster that stays until \`npm run cluster -- --name ${name} down\`:`);
  for (const command of [...toStartAgain(name), ...toTry(name)]) print(`     ${command}`);
  return false;
}

async function removeAll(name: string): Promise<void> {
  await removeHeldCluster(nodeActsName(name));
  await removeHeldCluster(name);
}

/** Kubernetes is built while the acts on one node are played, which need nothing of it. */
async function play(name: string, onlyNode: boolean): Promise<'node' | 'cluster'> {
  requireRoot();
  title('One node of this machine: a real containerd with gVisor, and the agent as its image runs it');
  const prerequisites = ensurePrerequisites();
  const tools = startTools(NODE_TOOLS, onlyNode ? [] : CLUSTER_TOOLS, prerequisites);
  await prerequisites;
  await requireKernel();
  const [pause] = await Promise.all([ensureImage('pause'), bundle(), tools.first]);
  await playNodeActs(nodeActsName(name), pause);
  await removeHeldCluster(nodeActsName(name));
  if (onlyNode) return 'node';
  title('A real cluster on this machine: three nodes, gVisor on the first two');
  await Promise.all([tools.later, ensureImages(CLUSTER_IMAGES)]);
  await playClusterActs(name);
  return 'cluster';
}

/** Recreates the demo's cluster without further builds. */
function toStartAgain(name: string): readonly string[] {
  return [
    `npm run cluster -- --name ${name} up --node name=node-1 --node name=node-2 --node name=node-3,gvisor=none`,
    `npm run cluster -- --name ${name} load`,
    `npm run cluster -- --name ${name} kubectl apply -k cluster/additional-handler`,
    `npm run cluster -- --name ${name} install node-3 current`,
  ];
}

function toTry(name: string): readonly string[] {
  return [
    `npm run cluster -- --name ${name} status`,
    `npm run cluster -- --name ${name} kubectl describe node node-1`,
    'npm run cluster -- faults',
    `npm run cluster -- --name ${name} break node-2 runsc-cannot-boot`,
    `npm run cluster -- --name ${name} kubectl get events -A --watch`,
  ];
}
