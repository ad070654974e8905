import { readFile } from 'node:fs/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/fault-texts.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { OutsideAgent, programOfImage, touch } from '../../cluster/node/outside-agent.ts';
import { bundle } from '../../hack/bundle.ts';
import { pause } from '../../hack/run.ts';
import { CriClient } from '../../lib/containerd/client.ts';
import { Host } from '../../lib/host/host.ts';
import { runProbe } from '../../lib/proof/probe.ts';
import { bootOfRunc, fileEvent, startBareServer } from './floors.ts';
import { mebibytes, statistics } from './statistics.ts';

const FAULTS = ['shim-missing', 'runsc-missing', 'config-missing'] as const satisfies readonly FaultName[];

/** Times of boot and teardown in sequential proofs on an idle containerd. */
export async function measureProofs(node: ClusterNode, proofs: number): Promise<string[][]> {
  const socket = '/run/containerd/containerd.sock';
  const client = new CriClient(socket, node.path(socket));
  const host = new Host(node.path('').replace(/\/$/, ''));
  const boots: number[] = [];
  const teardowns: number[] = [];
  const floors: number[] = [];
  const others = new Map<string, number>();
  for (let proof = 0; proof < proofs; proof++) {
    const now = () => performance.now();
    const signal = AbortSignal.timeout(90_000);
    const outcome = await runProbe({ client, handler: 'runsc', host, now, signal, owner: 'bench' });
    if (outcome.kind !== 'proven') others.set(outcome.kind, (others.get(outcome.kind) ?? 0) + 1);
    else {
      boots.push(outcome.bootMs);
      teardowns.push(outcome.teardownMs);
    }
    floors.push(await bootOfRunc(client));
  }
  client.close();
  const rows = [
    statistics('proof: boot', '≤ 0.25 s, p99 ≤ 0.30 s', boots),
    statistics('  floor: runc boots there', '', floors),
    statistics('proof: teardown', '', teardowns),
  ];
  return [...rows, ...[...others].map(([kind, n]) => [`proof: ${kind}`, '0', '', '', String(n)])];
}

/** Measures detection and recovery, with a new agent for each fault, because quick faults empty its token bucket. */
export async function measureFaults(cluster: Cluster, node: ClusterNode, runs: number): Promise<string[][]> {
  await bundle();
  const starts: number[] = [];
  const recoveries: number[] = [];
  const bareStarts: number[] = [];
  const events: number[] = [];
  const detections = new Map<FaultName, number[]>(FAULTS.map((fault) => [fault, []]));
  for (let run = 0; run < runs; run++)
    for (const [fault, times] of detections) {
      const agent = new OutsideAgent(node, {}, programOfImage());
      starts.push((await agent.proven()).atMs - agent.startedMs);
      const broken = performance.now();
      await breakNode(cluster, node, fault);
      const detected = await agent.change(agent.changes.length, ({ status }) => status === 'False');
      times.push(detected.atMs - broken);
      const healed = performance.now();
      await healNode(cluster, node, fault);
      recoveries.push((await agent.proven()).atMs - healed);
      await agent.stop();
      const { server, ms } = await startBareServer();
      server.kill();
      bareStarts.push(ms);
      events.push(CONFIRM_MS + (await fileEvent(node)));
    }
  return [
    statistics('start of the agent → first verdict, proof included', '≤ 0.7 s, p99 ≤ 1 s', starts),
    statistics('  floor: a bare server listens', '', bareStarts),
    ...[...detections].map(([fault, times]) =>
      statistics(`${fault} → verdict, confirmed`, '≤ 0.6 s, p99 ≤ 1.0 s', times),
    ),
    statistics('  floor: an event of inotify, and CONFIRM_DELAY', '', events),
    statistics('repaired → proven again', '≤ 0.6 s, p99 ≤ 1.0 s', recoveries),
  ];
}

/** The default of CONFIRM_DELAY. */
const CONFIRM_MS = 500;
/** Enough for an evaluation with a proof. */
const EVALUATION_S = 6;
/** Into about every second one falls a collection of the heap, half of its cost. */
const EVALUATIONS = 12;
/** Additional processes of a crowded node. */
const CROWD = 3_000;
/** Until an agent looks at a process no further. */
const SETTLED_S = 20;

/** The bundled agent's memory after a soak, and its CPU time while idle and for one evaluation. */
export async function measureAgent(node: ClusterNode, soakS: number, idleS: number): Promise<string[][]> {
  await bundle();
  const agent = new OutsideAgent(node, { PROOF_INTERVAL: '1h' }, programOfImage());
  const { server } = await startBareServer();
  try {
    await agent.proven();
    await pause(soakS);
    const { rss, anonymous } = await memoryOf(agent.pid);
    const bare = await memoryOf(server.pid ?? 0);
    const before = await cpuMs(agent.pid);
    await pause(idleS);
    const idle = (await cpuMs(agent.pid)) - before;
    const alone = await evaluationMs(agent, node, EVALUATIONS);
    // In the node, whose processes are those that the agent sees.
    await node.machine.run(['sh', '-c', `for n in $(seq ${CROWD}); do sleep 3600 >/dev/null 2>&1 & done`]);
    await pause(SETTLED_S);
    const first = await evaluationMs(agent, node, 1, SETTLED_S);
    const crowded = await evaluationMs(agent, node, EVALUATIONS);
    await node.machine.run(['pkill', '-f', '^sleep 3600$']);
    return [
      [`resident memory after ${soakS} s`, '≤ 64 MiB', `${mebibytes(rss)} MiB`],
      [`anonymous memory after ${soakS} s`, '≤ 20 MiB', `${mebibytes(anonymous)} MiB`],
      ['  floor: of a bare server', '', `${mebibytes(bare.rss)}, ${mebibytes(bare.anonymous)} MiB`],
      [`CPU over ${idleS} s without an evaluation`, '', `${(idle / idleS).toFixed(1)} m`],
      [`CPU of an evaluation, mean of ${EVALUATIONS}`, '', `${alone} ms`],
      [`CPU of the first beside ${CROWD} processes`, '', `${first} ms`],
      [`CPU of the next ${EVALUATIONS}, mean`, '≤ 100 ms', `${crowded} ms`],
    ];
  } finally {
    server.kill();
    await agent.stop();
  }
}

/** The agent's CPU time in milliseconds for an evaluation after a change of a file, as a mean of `count`. */
async function evaluationMs(agent: OutsideAgent, node: ClusterNode, count: number, seconds = EVALUATION_S) {
  const before = await cpuMs(agent.pid);
  for (let done = 0; done < count; done++) {
    await touch(node);
    await pause(seconds); // polling its report would dominate the measurement
  }
  return Math.round(((await cpuMs(agent.pid)) - before) / count);
}

export async function memoryOf(
  pid: number,
  proc = '/proc',
): Promise<{ readonly rss: number; readonly anonymous: number }> {
  const status = await readFile(`${proc}/${pid}/status`, 'utf8');
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { rss: kib('VmRSS') * 1024, anonymous: kib('RssAnon') * 1024 };
}

/** CPU time of a process and its reaped children in milliseconds; the kernel counts in ticks of 10 ms. */
export async function cpuMs(pid: number, proc = '/proc'): Promise<number> {
  const fields = (await readFile(`${proc}/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}
