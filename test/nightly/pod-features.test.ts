import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { CoreV1Event } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { writeCompatibility } from '../../hack/compatibility.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run, waitFor } from '../../hack/run.ts';
import { type Effect, FEATURES, RUNTIMES, type RuntimeName } from '../../kubectl/pods/features.ts';
import { createNamespace, deletePods, runtimeClass, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { isRewriting } from '../runner/rewriting.ts';
import {
  blockVolume,
  CASES,
  OBSERVED,
  type RunningPod,
  readPod,
  sharer,
  type TriedId,
} from './pod-feature-cases.ts';

const NAMESPACE = 'features';
const nodeName = (runtime: string) => `on-${runtime.replace(/\W+/g, '-')}`;
const NAMES = Object.keys(RUNTIMES) as RuntimeName[];

let cluster: Cluster;
useOwnCluster(
  'features',
  NAMES.map((name) => ({ name: nodeName(name), ...RUNTIMES[name] })),
  async (opened) => {
    cluster = opened;
    const directory = await mkdtemp(join(tmpdir(), 'pod-probes-'));
    const program = join(directory, 'probe');
    await run('gcc', ['-static', '-o', program, join(REPO, 'test/nightly/pod-probes.c')]);
    for (const node of cluster.nodes()) await prepare(node, program);
    await rm(directory, { recursive: true });
    await createNamespace(cluster, NAMESPACE);
    await cluster.kubectl(['apply', '-f', '-'], runtimeClass('gvisor', 'runsc'));
    for (const { name } of cluster.nodes()) {
      await cluster.kubectl(['apply', '-f', '-'], blockVolume(name, NAMESPACE));
      await cluster.kubectl(['apply', '-n', NAMESPACE, '-f', '-'], sharer(name));
    }
  },
  ['workload'],
);

/** Loop devices, which outlive the nodes. */
const disks: string[] = [];
after(async () => {
  for (const disk of disks) await run('losetup', ['--detach', disk]);
});

/** What the pods of pod-feature-cases.yaml mount and look for. */
async function prepare({ system }: ClusterNode, program: string): Promise<void> {
  await system.run(['mkdir', '-p', '/opt/pod-probes']);
  await system.install(program, '/opt/pod-probes/probe');
  await system.run(['install', '-m', '4755', '/opt/pod-probes/probe', '/opt/pod-probes/setuid']);
  await system.run(['mkdir', '-p', '/opt/shared']);
  await system.run(['truncate', '--size=1M', '/opt/pod-probes/disk']);
  const disk = (await system.run(['losetup', '--find', '--show', '/opt/pod-probes/disk'])).trim();
  disks.push(disk);
  await system.run(['cp', '--archive', disk, '/opt/pod-probes/block']);
  const rule = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' };
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] };
  await system.write('/var/lib/kubelet/seccomp/no-mkdir.json', JSON.stringify(profile), 0o644);
  await system.run(['ipcmk', '-M', '12345']);
}

/** The outcome of a pod, and the line or the message that says so. */
type Outcome = { readonly effect: Effect; readonly evidence: string };

/** Starts the pod of a case on a node, and waits for what becomes of it. */
async function outcomeOf(id: TriedId, runtime: RuntimeName, gvisor: boolean): Promise<Outcome> {
  const { spec, container, script, works, weaker } = CASES[id];
  const observe = OBSERVED[id];
  const name = `${id.toLowerCase()}-${nodeName(runtime)}-${gvisor ? 'gvisor' : 'plain'}`;
  const pod: RunningPod = { cluster, namespace: NAMESPACE, name };
  const manifest = evaluationPod(name, {
    gvisor,
    spec: { restartPolicy: 'Never', nodeName: nodeName(runtime), ...spec },
    container: { command: ['sh', '-c', script], ...container },
  });
  const onNode = manifest.replaceAll('NODE', nodeName(runtime));
  await cluster.kubectl(['create', '-n', NAMESPACE, '-f', '-'], onNode);
  try {
    const end = await waitFor(`an end of ${name}`, 120_000, async () => {
      const { phase = 'Pending' } = (await readPod(pod)).status ?? {};
      if (phase === 'Running' && observe !== undefined) return phase;
      if (phase === 'Succeeded' || phase === 'Failed') return phase;
      return phase === 'Pending' ? goesOnTrying(name) : undefined;
    });
    if (end !== 'Running' && end !== 'Succeeded' && end !== 'Failed')
      return { effect: 'hangs', evidence: end };
    const line = observe === undefined ? await lastLine(name) : await observe(pod);
    const evidence = line.replace(/\s+/g, ' ').trim();
    if (evidence.startsWith('refused: ')) return { effect: 'refused', evidence };
    if (end === 'Failed' && observe === undefined)
      return { effect: 'refused', evidence: evidence || (await messageOf(pod)) };
    if (RegExp(works).test(evidence)) return { effect: 'works', evidence };
    const isWeaker = weaker !== undefined && RegExp(weaker).test(evidence);
    return { effect: isWeaker ? 'weaker' : 'ignored', evidence };
  } finally {
    await deletePods(cluster, '-n', NAMESPACE, name);
  }
}

/** The message of a kubelet that goes on trying to start the pod: a busy one may try twice before it gives up. */
async function goesOnTrying(name: string): Promise<string | undefined> {
  const query = `fieldSelector=involvedObject.name%3D${name},type%3DWarning`;
  const { items } = JSON.parse(await cluster.get(`/api/v1/namespaces/${NAMESPACE}/events?${query}`)) as {
    readonly items: readonly CoreV1Event[];
  };
  const tries = items.reduce((sum, { count = 1 }) => sum + count, 0);
  return tries > 2 ? items[0]?.message : undefined;
}

async function lastLine(name: string): Promise<string> {
  const { code, text } = await cluster.request(`/api/v1/namespaces/${NAMESPACE}/pods/${name}/log`);
  return code < 300 ? (text.trim().split('\n').at(-1) ?? '') : '';
}

async function messageOf(pod: RunningPod): Promise<string> {
  const [status] = (await readPod(pod)).status?.containerStatuses ?? [];
  return status?.state?.terminated?.message ?? '';
}

/** Cells that differ from the table. */
const wrong: string[] = [];
if (isRewriting('WRITE_COMPATIBILITY'))
  after(async () => {
    if (wrong.length === 0) await writeCompatibility(new Date().toISOString().slice(0, 10));
  });

describe('what gVisor makes of a pod', { concurrency: 4 }, () => {
  for (const { id, field, effect: usual, except } of FEATURES.filter(({ effect }) => effect !== 'untried'))
    it(field, { timeout: patient(600_000) }, async (t) => {
      const cells = await Promise.all(
        NAMES.map(async (runtime) => {
          const [plain, inGvisor] = await Promise.all([
            outcomeOf(id as TriedId, runtime, false),
            outcomeOf(id as TriedId, runtime, true),
          ]);
          t.diagnostic(`${id}, ${runtime}: ${JSON.stringify({ plain, inGvisor })}`);
          const effect =
            plain.effect !== 'works' && inGvisor.effect !== 'works' ? 'neither' : inGvisor.effect;
          return [runtime, effect] as const;
        }),
      );
      const expected = NAMES.map((runtime) => [runtime, except?.[runtime] ?? usual]);
      if (JSON.stringify(cells) !== JSON.stringify(expected)) wrong.push(id);
      assert.deepEqual(cells, expected);
    });
});
