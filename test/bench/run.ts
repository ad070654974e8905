import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CriClient } from '../../agent/host/cri-client.ts';
import { Host } from '../../agent/host/host.ts';
import { prove } from '../../agent/proof/proof.ts';
import { bundle } from '../../hack/bundle.ts';
import { breakNode, healNode } from '../../hack/cluster/break-node.ts';
import { type Cluster, startCluster } from '../../hack/cluster/cluster.ts';
import type { FaultName } from '../../hack/cluster/faults.ts';
import type { ClusterNode } from '../../hack/cluster/node.ts';
import { removeCluster } from '../../hack/cluster/remove-cluster.ts';
import { REPO } from '../../hack/paths.ts';
import { formatTable } from '../../hack/table.ts';
import { OutsideAgent, touch } from '../integration/outside-agent.ts';

const CLUSTER = 'bench';
const FAULTS = ['shim-missing', 'runsc-missing', 'config-missing'] as const satisfies readonly FaultName[];
const HEAD = ['what', 'goal', 'median', 'p99', 'n'];
/** How the image runs the bundle. */
const ENTRYPOINT = /^ENTRYPOINT (.*)$/m.exec(readFileSync(join(REPO, 'Dockerfile'), 'utf8'))?.[1] ?? '[]';
const BUNDLED = (JSON.parse(ENTRYPOINT) as string[]).map((word) =>
  word.replace(/^\/(usr\/local\/bin|app)\//, 'dist/'),
);

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '30' },
    proofs: { type: 'string', default: '50' },
    soak: { type: 'string', default: '60' },
    idle: { type: 'string', default: '60' },
  },
});
const [runs, proofs, soakS, idleS] = [values.runs, values.proofs, values.soak, values.idle].map(
  wholeNumber,
) as [number, number, number, number];

/** Gives up before anything is started when a number is none. */
function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  console.error(
    `"${text}" is no number from 1 to 99999: --runs, --proofs, --soak and --idle (seconds) take one.`,
  );
  process.exit(2);
}

console.log(`${new Date().toISOString().slice(0, 10)} · ${await machineShape()}\n`);
try {
  const cluster = await startCluster({ name: CLUSTER, nodes: [{ name: 'node-1' }], images: [] });
  const node = cluster.node('node-1');
  console.log(`${formatTable([HEAD, ...(await measureProofs(node))])}\n`);
  console.log(`${formatTable([HEAD, ...(await measureFaults(cluster, node))])}\n`);
  console.log(formatTable([['what', 'goal', 'measured'], ...(await measureAgent(node))]));
} finally {
  await removeCluster(CLUSTER);
}

async function machineShape(): Promise<string> {
  const load = (await readFile('/proc/loadavg', 'utf8')).split(' ').slice(0, 3).join(' ');
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, load before ${load}`;
}

/** Boot and teardown of proofs that an idle containerd is asked for one after the other. */
async function measureProofs(node: ClusterNode): Promise<string[][]> {
  const socket = '/run/containerd/containerd.sock';
  const client = new CriClient(socket, node.path(socket));
  const host = new Host(node.path('').replace(/\/$/, ''));
  const boots: number[] = [];
  const teardowns: number[] = [];
  const others = new Map<string, number>();
  for (let proof = 0; proof < proofs; proof++) {
    const now = () => performance.now();
    const signal = AbortSignal.timeout(90_000);
    const outcome = await prove({ client, handler: 'runsc', host, now }, signal);
    if (outcome.kind !== 'proven') others.set(outcome.kind, (others.get(outcome.kind) ?? 0) + 1);
    else {
      boots.push(outcome.bootMs);
      teardowns.push(outcome.teardownMs);
    }
  }
  client.close();
  const rows = [
    statistics('proof: boot, until the kernel inside was read', '', boots),
    statistics('proof: teardown', '', teardowns),
  ];
  return [...rows, ...[...others].map(([kind, n]) => [`proof: ${kind}`, '0', '', '', String(n)])];
}

/** Each run has an agent of its own, so that no run waits for what the one before has made it do. */
async function measureFaults(cluster: Cluster, node: ClusterNode): Promise<string[][]> {
  const starts: number[] = [];
  const detections = new Map<FaultName, number[]>(FAULTS.map((fault) => [fault, []]));
  const recoveries: number[] = [];
  for (let run = 0; run < runs; run++) {
    const agent = new OutsideAgent(node);
    starts.push((await agent.proven()).atMs - agent.startedMs);
    for (const fault of FAULTS) {
      const broken = performance.now();
      await breakNode(cluster, node, fault);
      const seen = await agent.change(agent.changes.length, ({ status }) => status === 'False');
      detections.get(fault)?.push(seen.atMs - broken);
      const healed = performance.now();
      await healNode(cluster, node, fault);
      recoveries.push((await agent.proven()).atMs - healed);
    }
    await agent.stop();
  }
  return [
    statistics('start of the agent → first verdict, proof included', '≤ 5 s', starts),
    ...[...detections].map(([fault, times]) =>
      statistics(`${fault} → verdict, confirmed`, 'p50 ≤ 0.7 s, p99 ≤ 2 s', times),
    ),
    statistics('repaired → proven again', '≤ 3 s', recoveries),
  ];
}

/** The bundled agent's memory after a soak, and its CPU time over an idle stretch and for one look. */
async function measureAgent(node: ClusterNode): Promise<string[][]> {
  await bundle();
  const agent = new OutsideAgent(node, { PROOF_INTERVAL: '1h' }, BUNDLED);
  try {
    await agent.proven();
    await pause(soakS);
    const { rss, anonymous } = await memoryOf(agent.pid);
    const before = await cpuMs(agent.pid);
    await pause(idleS);
    const idle = (await cpuMs(agent.pid)) - before;
    const next = agent.nextReport();
    const rested = await cpuMs(agent.pid);
    await touch(node);
    await next;
    const look = (await cpuMs(agent.pid)) - rested;
    const milli = (ms: number, seconds: number) => (ms / seconds).toFixed(1);
    return [
      [`resident memory after ${soakS} s`, '≤ 72 MiB', `${mebibytes(rss)} MiB`],
      [`anonymous memory after ${soakS} s`, '≤ 26 MiB', `${mebibytes(anonymous)} MiB`],
      [`CPU over ${idleS} s without a look`, '', `${milli(idle, idleS)} m`],
      ['CPU time of one look, runsc --version included', '', `${look} ms`],
      [
        'CPU with a proof each 10 min',
        '≤ 3 m',
        `${(Number(milli(idle, idleS)) + Number(milli(look, 600))).toFixed(1)} m`,
      ],
    ];
  } finally {
    await agent.stop();
  }
}

async function memoryOf(pid: number): Promise<{ rss: number; anonymous: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { rss: kib('VmRSS') * 1024, anonymous: kib('RssAnon') * 1024 };
}

/** CPU time of a process and of its children that have ended, in milliseconds; the kernel counts in 10 ms. */
async function cpuMs(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}

function statistics(what: string, goal: string, ms: readonly number[]): string[] {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)];
  const text = (value: number | undefined) => (value === undefined ? '' : `${(value / 1000).toFixed(2)} s`);
  return [what, goal, text(at(0.5)), text(at(0.99)), String(sorted.length)];
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

function pause(seconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, seconds * 1000));
}
