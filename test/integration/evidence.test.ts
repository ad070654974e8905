import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { RUNSC } from '../../cluster/node/node.ts';
import { OutsideAgent } from '../../cluster/node/outside-agent.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { patient, run, waitFor } from '../../hack/run.ts';
import { markedBlock, substituteSettings } from '../docs/marked-blocks.ts';
import { createNamespace, runtimeClass, startPod } from '../e2e/e2e-cluster.ts';
import { connect, useNodes } from './integration-cluster.ts';

const NAME = 'containerd-2';
const NAMESPACE = 'evidence';
const { cluster, node } = useNodes();

type Line = OutsideAgent['evidence'][number];

/** Waits for the agent's line on a pod, or on a gap. */
const lineOf = (agent: OutsideAgent, event: string, pod?: string): Promise<Line> =>
  waitFor(`a line "${event}" of ${pod}`, 90_000, async () =>
    agent.evidence.find((line) => line.event === event && line.pod === pod),
  );

async function start(
  name: string,
  runtime: string,
  spec: object = {},
  container: object = {},
): Promise<string> {
  const pod = { nodeName: NAME, ...spec };
  const made = { gvisor: true, runtimeClass: `evidence-${runtime}`, spec: pod, container };
  await startPod(cluster(), NAMESPACE, name, evaluationPod(name, made));
  return cluster().kubectl(['get', 'pod', '-n', NAMESPACE, name, '-o', 'jsonpath={.metadata.uid}']);
}

it('tells the whole story of pods, over a restart of the agent', { timeout: patient(400_000) }, async (t) => {
  await createNamespace(cluster(), NAMESPACE);
  for (const handler of ['runsc', 'runc'])
    await cluster().kubectl(['apply', '-f', '-'], runtimeClass(`evidence-${handler}`, handler));
  const client = connect(node(NAME));
  t.after(() => client.close());
  const sandboxOf = async (uid: string) =>
    (await client.listSandboxes('all')).find(({ metadata }) => metadata?.uid === uid);
  const environment = { HANDLERS: 'runsc,runc' };

  const hidden = await start('hidden', 'runsc');
  const { id = '' } = (await sandboxOf(hidden)) ?? {};
  const { pid } = await client.sandbox(id);
  await node(NAME).system.run(['mount', '-t', 'tmpfs', 'tmpfs', `/proc/${pid}`]);
  t.after(() => node(NAME).system.run(['sh', '-c', `umount /proc/${pid} || true`]));
  const agent = new OutsideAgent(node(NAME), environment);
  t.after(() => agent.stop());
  const first = await lineOf(agent, 'begin', 'hidden');
  assert.deepEqual([first.sandbox, first.runtime, first.process], [id, 'io.containerd.runsc.v1', undefined]);
  await node(NAME).system.run(['umount', `/proc/${pid}`]);
  const seen = await lineOf(agent, 'change', 'hidden');
  const digest = createHash('sha512')
    .update(await readFile(node(NAME).path(RUNSC)))
    .digest('hex');
  const { path, digest: found, release, flags } = seen.sentry as Record<string, unknown>;
  assert.deepEqual([seen.gvisor, seen.uid, path, found], [true, hidden, RUNSC, `sha512:${digest}`]);
  assert.deepEqual((seen.process as Line).program, 'runsc-sandbox');
  t.diagnostic(
    `release ${release}, flags ${JSON.stringify(flags)}, ${JSON.stringify(seen).length} characters`,
  );

  await start('on-host', 'runc');
  const outside = await lineOf(agent, 'begin', 'on-host');
  assert.deepEqual([outside.gvisor, outside.runtime], [false, 'io.containerd.runc.v2']);
  await cluster().kubectl(['delete', 'pod', '-n', NAMESPACE, 'on-host', '--wait=false']);
  const ended = await lineOf(agent, 'end', 'on-host');
  assert.deepEqual(ended.process, outside.process);

  const command = { command: ['true'] };
  const once = { nodeName: NAME, restartPolicy: 'Never' };
  const made = { gvisor: true, runtimeClass: 'evidence-runsc', spec: once, container: command };
  await cluster().kubectl(['apply', '-n', NAMESPACE, '-f', '-'], evaluationPod('quick', made));
  const quick = await lineOf(agent, 'end', 'quick');
  assert.equal(quick.runtime, 'io.containerd.runsc.v1');
  t.diagnostic(`of a pod that ends at once: gvisor ${quick.gvisor}`);

  const short = await start('short', 'runsc', { restartPolicy: 'Never' });
  await lineOf(agent, 'begin', 'short');
  await agent.stop('SIGKILL');
  const spec = JSON.stringify({ spec: { activeDeadlineSeconds: 1 } });
  await cluster().kubectl(['patch', 'pod', '-n', NAMESPACE, 'short', '-p', spec]);
  await waitFor('the pod to end', 60_000, async () => (await sandboxOf(short))?.state === 'SANDBOX_NOTREADY');
  // In the place of an agent's own pod: one whose container has this name, and ended before.
  const ended0 = { name: 'gvisor-ready-agent', command: ['true'] };
  const own = JSON.parse(
    evaluationPod('own', { gvisor: false, spec: { nodeName: NAME }, container: ended0 }),
  );
  await cluster().kubectl(['apply', '-n', NAMESPACE, '-f', '-'], JSON.stringify(own));
  const podUid = await waitFor('a container that ended', 60_000, async () => {
    const read = ['get', 'pod', '-n', NAMESPACE, 'own', '-o'];
    const state = await cluster().kubectl([...read, 'jsonpath={.status.containerStatuses[0].lastState}']);
    return state.includes('terminated') && cluster().kubectl([...read, 'jsonpath={.metadata.uid}']);
  });

  const successor = new OutsideAgent(node(NAME), { ...environment, POD_UID: podUid });
  t.after(() => successor.stop());
  const gap = await lineOf(successor, 'gap');
  assert.equal(successor.evidence[0], gap);
  assert.ok(String(gap.from) < String(gap.to), JSON.stringify(gap));
  assert.deepEqual((await lineOf(successor, 'begin', 'hidden')).process, seen.process);
  const unseen = await lineOf(successor, 'end', 'short');
  assert.deepEqual([unseen.uid, unseen.gvisor, unseen.runtime], [short, null, 'io.containerd.runsc.v1']);
  const sequences = agent.evidence.map(({ sequence }) => sequence);
  assert.deepEqual(
    sequences,
    sequences.map((_, at) => at + 1),
  );

  const LOG = join(cluster().dir, 'agents.log');
  const lines = [...agent.evidence, ...successor.evidence].map((line) => JSON.stringify(line));
  await writeFile(LOG, ['no JSON', ...lines, ''].join('\n'));
  const settings = { LOG, NAMESPACE, RUN: '' };
  const table = await run('sh', [
    '-c',
    substituteSettings(markedBlock('docs/evidence.md', 'table'), settings),
  ]);
  const rows = table
    .trimEnd()
    .split('\n')
    .map((row) => row.split('\t'));
  const known = rows.map(([pod, , , gvisor, , , found, , , isEnded]) =>
    [pod, gvisor, found, isEnded].join(' '),
  );
  const sha512 = `sha512:${digest}`;
  assert.deepEqual(known.sort(), [
    `hidden true ${sha512} false`,
    'on-host false ? true',
    known.find((row) => row.startsWith('quick ')),
    `short true ${sha512} true`,
  ]);
});
