import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError } from 'commander';
import type { Cluster } from '../../cluster/cluster.ts';
import { deployAgent } from '../../cluster/labels.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { removeCluster, removeHeldCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { REPO } from '../../hack/paths.ts';
import { untilStopped } from '../../hack/run.ts';
import { formatTable } from '../../hack/table.ts';
import { DECISIONS_HEAD, measureDecisions } from './decisions.ts';
import { measureFleet } from './fleet.ts';
import { measureInstalls, measureUpgrade, startNode } from './installer.ts';
import { measureLabels } from './labels.ts';
import { LOAD_HEAD, measureLoad } from './load.ts';
import { measureAgent, measureFaults, measureProofs } from './one-node.ts';
import { measureOverhead, OVERHEAD_HEAD, OVERHEAD_NODES } from './overhead.ts';
import { measurePage } from './page.ts';
import { measurePlugin } from './plugin.ts';
import { measurePod } from './pod.ts';
import { measureScale } from './scale.ts';
import { measureStarts, STARTS_HEAD } from './starts.ts';
import { HEAD } from './statistics.ts';

const CLUSTER = process.env.BENCH_CLUSTER ?? 'bench';
const PODS_OF_UPGRADE = 20;
const MEASURED = ['what', 'goal', 'measured'];

/** Options: default and description. */
const AMOUNTS = {
  proofs: [50, 'proofs on an idle node'],
  runs: [30, 'runs of each fault and its repair'],
  soak: [60, 'seconds until the memory is read'],
  idle: [60, 'seconds in which the CPU is counted'],
  beside: [50, 'pods of gVisor beside the agent whose memory is read'],
  load: [1800, 'seconds with eight times more work than processors'],
  pressure: [1800, 'seconds with too little memory and disk'],
  idlers: [10, 'idle pods of each release of gVisor whose memory is read'],
  evaluations: [100, 'evaluations that start at once'],
  installs: [20, 'installations on a node without gVisor'],
  agents: [1000, 'agents of one API server'],
  nodes: [5000, 'nodes of a simulated fleet'],
} as const;
type Amounts = Readonly<Record<keyof typeof AMOUNTS, number>>;

type Section = {
  readonly head: readonly string[];
  readonly measure: (cluster: Cluster, node: ClusterNode, amounts: Amounts) => Promise<string[][]>;
};

/** On one node without the agent's pod. */
const ON_A_NODE: Readonly<Record<string, Section>> = {
  proofs: { head: HEAD, measure: (_, node, { proofs }) => measureProofs(node, proofs) },
  faults: { head: HEAD, measure: (cluster, node, { runs }) => measureFaults(cluster, node, runs) },
  agent: { head: MEASURED, measure: (_, node, { soak, idle }) => measureAgent(node, soak, idle) },
};

/** Beside the agent's pod on that node. */
const WITH_AGENT: Readonly<Record<string, Section>> = {
  labels: { head: HEAD, measure: (cluster, node, { runs }) => measureLabels(cluster, node, runs) },
  pod: {
    head: MEASURED,
    measure: (cluster, node, { soak, idle, beside }) =>
      measurePod(cluster, node, { soakS: soak, idleS: idle, beside }),
  },
  load: {
    head: LOAD_HEAD,
    measure: (cluster, node, { load, pressure }) =>
      measureLoad(cluster, node, { cpuS: load, pressureS: pressure }),
  },
  starts: {
    head: STARTS_HEAD,
    measure: (cluster, _, { evaluations }) => measureStarts(cluster, evaluations),
  },
  scale: { head: MEASURED, measure: (cluster, _, { agents }) => measureScale(cluster, agents) },
};

/** Each with a cluster of its own. */
const OTHERS: Readonly<Record<string, (amounts: Amounts) => Promise<void>>> = {
  installer: async ({ installs }) => {
    const cluster = await startNode(CLUSTER);
    show(HEAD, await measureInstalls(cluster, installs));
    show(MEASURED, await measureUpgrade(cluster, PODS_OF_UPGRADE));
  },
  overhead: async ({ idlers }) => {
    const cluster = await startCluster({ name: CLUSTER, nodes: OVERHEAD_NODES, images: ['workload'] });
    show(OVERHEAD_HEAD, await measureOverhead(cluster, idlers));
  },
  decisions: async () => show(DECISIONS_HEAD, measureDecisions()),
  fleet: async ({ nodes }) => show(MEASURED, await measureFleet(CLUSTER, nodes)),
  page: async () => show(HEAD, await measurePage()),
  plugin: async () => show(MEASURED, await measurePlugin()),
};

/** In the order of measurement. */
const SECTIONS = [ON_A_NODE, WITH_AGENT, OTHERS].flatMap((sections) => Object.keys(sections));

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
const amounts = program.opts<Amounts>();
const selected = program.args.length === 0 ? SECTIONS : program.args;

function wholeNumber(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('It takes a number from 0 to 99999.');
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
  const names = selected.filter((name) => name in ON_A_NODE || name in WITH_AGENT);
  if (names.length > 0) await measureNode(names);
  for (const [name, measureOther] of Object.entries(OTHERS)) {
    if (!selected.includes(name)) continue;
    await measureOther(amounts);
    await removeCluster(CLUSTER);
  }
}

async function measureNode(names: readonly string[]): Promise<void> {
  const hasAgent = names.some((name) => name in WITH_AGENT);
  const images = hasAgent ? (['workload', 'agent'] as const) : [];
  const cluster = await startCluster({ name: CLUSTER, nodes: [{ name: 'node-1' }], images });
  const run = async (sections: Readonly<Record<string, Section>>) => {
    for (const [name, { head, measure }] of Object.entries(sections))
      if (names.includes(name)) show(head, await measure(cluster, cluster.node('node-1'), amounts));
  };
  await run(ON_A_NODE);
  if (hasAgent) await deployAgent(cluster, join(REPO, 'manifests/base'));
  await run(WITH_AGENT);
  await removeCluster(CLUSTER);
}

async function machineShape(): Promise<string> {
  const load = (await readFile('/proc/loadavg', 'utf8')).split(' ').slice(0, 3).join(' ');
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, load before ${load}`;
}
