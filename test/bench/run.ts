import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError } from 'commander';
import { removeCluster, removeHeldCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { deployAgent } from '../../cluster/story.ts';
import { formatTable } from '../../cluster/table.ts';
import { REPO } from '../../hack/paths.ts';
import { untilStopped } from '../../hack/run.ts';
import { densities, measureDensity, scaleTo } from './density.ts';
import { measureFlaps } from './flaps.ts';
import { measureFleet } from './fleet.ts';
import { ADDITIONAL, HANDLERS_HEAD, measureHandlers } from './handlers.ts';
import { measureInstalls, measureUpgrade, startNode } from './installer.ts';
import { measureLabels, measurePod } from './labels.ts';
import { LOAD_HEAD, measureChurn, measureLoad, measureRequests, REQUEST_HEAD } from './load.ts';
import { LABELS_HEAD, measureManyLabels } from './many-labels.ts';
import { measureAgent, measureFaults, measureProofs } from './one-node.ts';
import { measureOverhead, OVERHEAD_HEAD, OVERHEAD_NODES } from './overhead.ts';
import { measureScale } from './scale.ts';
import { HEAD } from './statistics.ts';
import { measureVm } from './vm.ts';
import { measureClaims } from './warm-pods.ts';

const CLUSTER = process.env.BENCH_CLUSTER ?? 'bench';
const PODS_OF_UPGRADE = 20;
const MEASURED = ['what', 'goal', 'measured'];
/** Sections in the order of measurement. */
const SECTIONS = [
  ...['proofs', 'faults', 'agent', 'handlers', 'labels', 'pod', 'flaps', 'load'],
  ...['churn', 'request', 'scale', 'density', 'installer', 'overhead', 'fleet', 'many-labels', 'vm'],
];

/** Options: default and description. */
const AMOUNTS = {
  proofs: [50, 'proofs on an idle node'],
  runs: [30, 'runs of each fault and its repair'],
  soak: [60, 'seconds until the memory is read'],
  idle: [60, 'seconds in which the CPU is counted'],
  beside: [50, 'pods of gVisor beside the agent whose memory is read'],
  flaps: [20, 'restarts of containerd and upgrades of runsc; of the agent five times as many'],
  outage: [300, 'seconds without the API server'],
  load: [1800, 'seconds with eight times more work than processors'],
  pressure: [1800, 'seconds with too little memory and disk'],
  churn: [600, 'seconds in which gVisor pods come and go'],
  pods: [200, 'of them at a time, at most'],
  density: [400, 'pods of gVisor on one node'],
  idlers: [10, 'idle pods of each release of gVisor whose memory is read'],
  request: [300, 'seconds of load with each CPU request of the agent'],
  installs: [20, 'installations on a node without gVisor'],
  agents: [1000, 'agents of one API server'],
  nodes: [5000, 'nodes of a simulated fleet'],
  evaluations: [50, 'evaluations on a virtual machine'],
} as const;

const program = new Command('npm run bench --')
  .description(
    'Measures, and prints tables with the goal beside each figure. Everything, unless sections are named.',
  )
  .addArgument(new Argument('[sections...]', 'what to measure').choices(SECTIONS))
  .configureOutput({ outputError: (text, write) => write(`${text.trim()}\n`) })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
for (const [name, [amount, what]] of Object.entries(AMOUNTS))
  program.option(`--${name} <number>`, what, wholeNumber, amount);
program.parse();
const amounts = program.opts<Readonly<Record<keyof typeof AMOUNTS, number>>>();
const sections: readonly string[] = program.args;
const isSelected = (section: string) => sections.length === 0 || sections.includes(section);

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('It takes a number from 1 to 99999.');
  return Number(text);
}

function show(head: readonly string[], rows: readonly (readonly string[])[]): void {
  console.log(`${formatTable([[...head], ...rows.map((row) => [...row])])}\n`);
}

console.log(`${new Date().toISOString().slice(0, 10)} · ${await machineShape()}\n`);
const stopped = untilStopped();
try {
  if ((await Promise.race([measure(), stopped])) === 'stopped') {
    await removeHeldCluster(CLUSTER);
    process.exit(130); // ends the measurement
  }
} finally {
  await removeCluster(CLUSTER);
}

async function measure(): Promise<void> {
  if (
    SECTIONS.filter(isSelected).some(
      (section) => !['installer', 'overhead', 'fleet', 'many-labels', 'vm'].includes(section),
    )
  )
    await measureNamespaces();
  if (isSelected('installer')) {
    const cluster = await startNode(CLUSTER);
    show(HEAD, await measureInstalls(cluster, amounts.installs));
    show(MEASURED, await measureUpgrade(cluster, PODS_OF_UPGRADE));
    await removeCluster(CLUSTER);
  }
  if (isSelected('overhead')) {
    const cluster = await startCluster({ name: CLUSTER, nodes: OVERHEAD_NODES, images: ['workload'] });
    show(OVERHEAD_HEAD, await measureOverhead(cluster, amounts.idlers));
    await removeCluster(CLUSTER);
  }
  if (isSelected('fleet')) show(MEASURED, await measureFleet(CLUSTER, amounts.nodes));
  if (isSelected('many-labels')) show(LABELS_HEAD, await measureManyLabels(CLUSTER));
  if (isSelected('vm')) show(MEASURED, await measureVm(CLUSTER, amounts.evaluations));
}

/** Runs the sections on nodes that are namespaces of this machine. */
async function measureNamespaces(): Promise<void> {
  const images = ['labels', 'pod', 'flaps', 'load', 'churn', 'request', 'scale', 'density'].some(isSelected)
    ? (['workload', 'agent'] as const)
    : [];
  const cluster = await startCluster({
    name: CLUSTER,
    nodes: [{ name: 'node-1', additional: ADDITIONAL }],
    images,
  });
  const node = cluster.node('node-1');
  if (isSelected('proofs')) show(HEAD, await measureProofs(node, amounts.proofs));
  if (isSelected('faults')) show(HEAD, await measureFaults(cluster, node, amounts.runs));
  if (isSelected('agent')) show(MEASURED, await measureAgent(node, amounts.soak, amounts.idle));
  if (isSelected('handlers')) show(HANDLERS_HEAD, await measureHandlers(node, amounts.soak));
  if (images.length > 0) await deployAgent(cluster, join(REPO, 'manifests/base'));
  if (isSelected('labels'))
    show(HEAD, [
      ...(await measureLabels(cluster, node, amounts.runs)),
      ...(await measureClaims(cluster, node, amounts.runs)),
    ]);
  if (isSelected('pod')) {
    await scaleTo(cluster, node, amounts.beside);
    show(MEASURED, await measurePod(cluster, node, { soakS: amounts.soak, idleS: amounts.idle }));
    await cluster.kubectl(['delete', 'replicaset', 'dense', '--cascade=foreground']);
  }
  if (isSelected('flaps')) {
    const { flaps, outage } = amounts;
    const disturbances = { agents: 5 * flaps, containerds: flaps, upgrades: flaps, apiDownS: outage };
    show(MEASURED, await measureFlaps(cluster, node, disturbances));
  }
  if (isSelected('load'))
    show(LOAD_HEAD, await measureLoad(cluster, node, { cpuS: amounts.load, pressureS: amounts.pressure }));
  if (isSelected('churn'))
    show(LOAD_HEAD, await measureChurn(cluster, node, { churnS: amounts.churn, pods: amounts.pods }));
  if (isSelected('request')) show(REQUEST_HEAD, await measureRequests(cluster, node, amounts.request));
  if (isSelected('scale')) show(MEASURED, await measureScale(cluster, amounts.agents));
  // The last, because its pods stay until the cluster is removed.
  if (isSelected('density')) {
    const [head = [], ...rows] = await measureDensity(cluster, node, {
      steps: densities(amounts.density),
      idleS: amounts.idle,
    });
    show(head, rows);
  }
  await removeCluster(CLUSTER);
}

async function machineShape(): Promise<string> {
  const load = (await readFile('/proc/loadavg', 'utf8')).split(' ').slice(0, 3).join(' ');
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, load before ${load}`;
}
