import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { deployAgent } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { formatTable } from '../../hack/table.ts';
import { measureFlaps } from './flaps.ts';
import { measureFleet } from './fleet.ts';
import { measureLabels, measurePod } from './labels.ts';
import { LOAD_HEAD, measureLoad, measureRequests, REQUEST_HEAD } from './load.ts';
import { FAULT_NODES, measureAgent, measureFaults, measureProofs } from './one-node.ts';
import { measureScale } from './scale.ts';
import { HEAD } from './statistics.ts';
import { measureVm } from './vm.ts';

const CLUSTER = process.env.BENCH_CLUSTER ?? 'bench';
const MEASURED = ['what', 'goal', 'measured'];
/** What can be measured, in this order. */
const SECTIONS = [
  ...['proofs', 'faults', 'agent', 'labels', 'pod', 'flaps', 'load'],
  ...['request', 'scale', 'fleet', 'vm'],
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '30' },
    proofs: { type: 'string', default: '50' },
    soak: { type: 'string', default: '60' },
    idle: { type: 'string', default: '60' },
    flaps: { type: 'string', default: '20' },
    load: { type: 'string', default: '1800' },
    pressure: { type: 'string', default: '300' },
    pods: { type: 'string', default: '200' },
    request: { type: 'string', default: '300' },
    outage: { type: 'string', default: '300' },
    agents: { type: 'string', default: '1000' },
    nodes: { type: 'string', default: '5000' },
    looks: { type: 'string', default: '50' },
  },
});
const { runs, proofs, soak, idle, flaps, load, pressure, pods, request, outage, agents, nodes, looks } =
  Object.fromEntries(Object.entries(values).map(([name, text]) => [name, wholeNumber(name, text)])) as Record<
    keyof typeof values,
    number
  >;
const wrong = positionals.filter((word) => !SECTIONS.includes(word));
if (wrong.length > 0) giveUp(`Nothing called "${wrong.join('", "')}" is measured: ${SECTIONS.join(', ')}.`);
const wanted = (section: string) => positionals.length === 0 || positionals.includes(section);

function wholeNumber(name: string, text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  return giveUp(
    `--${name} is "${text}": it takes a number from 1 to 99999 (soak, idle, load, pressure, request and outage in seconds).`,
  );
}

/** Ends before anything is started. */
function giveUp(why: string): never {
  console.error(why);
  process.exit(2);
}

function show(head: readonly string[], rows: readonly (readonly string[])[]): void {
  console.log(`${formatTable([[...head], ...rows.map((row) => [...row])])}\n`);
}

console.log(`${new Date().toISOString().slice(0, 10)} · ${await machineShape()}\n`);
try {
  if (SECTIONS.filter(wanted).some((section) => !['fleet', 'vm'].includes(section)))
    await measureNamespaces();
  if (wanted('fleet')) show(MEASURED, await measureFleet(CLUSTER, nodes));
  if (wanted('vm')) show(MEASURED, await measureVm(CLUSTER, looks));
} finally {
  await removeCluster(CLUSTER);
}

/** Everything on nodes that are namespaces of this machine. */
async function measureNamespaces(): Promise<void> {
  const images = ['labels', 'pod', 'flaps', 'load', 'request', 'scale'].some(wanted)
    ? (['workload', 'agent'] as const)
    : [];
  const cluster = await startCluster({ name: CLUSTER, nodes: [{ name: 'node-1' }], images });
  const node = cluster.node('node-1');
  if (wanted('proofs')) show(HEAD, await measureProofs(node, proofs));
  if (wanted('faults')) {
    const [, ...more] = FAULT_NODES;
    for (const { name } of more) await cluster.addNode({ name });
    show(HEAD, await measureFaults(cluster, runs));
    for (const { name } of more) await cluster.removeNode(name);
  }
  if (wanted('agent')) show(MEASURED, await measureAgent(node, soak, idle));
  if (images.length > 0) await deployAgent(cluster, join(REPO, 'manifests/base'));
  if (wanted('labels')) show(HEAD, await measureLabels(cluster, node, runs));
  if (wanted('pod')) show(MEASURED, await measurePod(cluster, node, { soakS: soak, idleS: idle }));
  if (wanted('flaps')) {
    const disturbances = { agents: 5 * flaps, containerds: flaps, upgrades: flaps, apiDownS: outage };
    show(MEASURED, await measureFlaps(cluster, node, disturbances));
  }
  if (wanted('load'))
    show(LOAD_HEAD, await measureLoad(cluster, node, { cpuS: load, pressureS: pressure, pods }));
  if (wanted('request')) show(REQUEST_HEAD, await measureRequests(cluster, node, request));
  if (wanted('scale')) show(MEASURED, await measureScale(cluster, agents));
  await removeCluster(CLUSTER);
}

async function machineShape(): Promise<string> {
  const load = (await readFile('/proc/loadavg', 'utf8')).split(' ').slice(0, 3).join(' ');
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, load before ${load}`;
}
