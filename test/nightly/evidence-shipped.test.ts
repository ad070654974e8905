import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, run, waitFor } from '../../hack/run.ts';
import { markedBlock, substituteSettings } from '../docs/marked-blocks.ts';
import { waitForNode, waitForRollout } from '../e2e/agents.ts';
import { createNamespace, startPod, useOwnCluster } from '../e2e/e2e-cluster.ts';

const DOCUMENT = 'docs/evidence.md';
const NODE = 'node-1';
const NAMESPACE = 'evaluations';
const AGENT = 'gvisor-ready-agent';
const CONFIG = '/etc/otelcol.yaml';
const WAIT_MS = patient(120_000);

let cluster: Cluster;
let node: ClusterNode;
let program = '';
useOwnCluster(
  'shipped',
  [{ name: NODE }],
  async (started) => {
    cluster = started;
    node = cluster.node(NODE);
    program = join((await ensureTools(['otel-collector']))['otel-collector'], 'otel-collector');
    await cluster.kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
    await waitForNode(cluster, NODE, ({ ready }) => ready === 'true');
    await createNamespace(cluster, NAMESPACE);
    await node.write(CONFIG, markedBlock(DOCUMENT, 'otel-collector'));
  },
  ['workload', 'agent'],
);

const kubectl = (...words: readonly string[]) => cluster.kubectl(words);
const startCollector = () => node.machine.daemon('otelcol', [program, '--config', CONFIG]);

/** The lines that were shipped, made of the collector's file by the document's own command. */
async function shipped(): Promise<readonly string[]> {
  const file = node.path('/var/log/evidence.jsonl');
  const script = substituteSettings(markedBlock(DOCUMENT, 'lines'), { FILE: file });
  await run('sh', ['-c', script], { cwd: cluster.dir });
  return (await readFile(join(cluster.dir, 'agents.log'), 'utf8')).trim().split('\n');
}

/** Waits until this many lines of an event of a pod were shipped. */
const waitForLines = (event: string, pod: string, many: number) =>
  waitFor(`${many} lines "${event}" of ${pod}`, WAIT_MS, async () => {
    const lines = (await shipped()).map((line) => JSON.parse(line) as Record<string, unknown>);
    return lines.filter((line) => line.event === event && line.pod === pod).length === many;
  });

it('ships each line once, over a kill of the collector, and none that a tenant prints', {
  timeout: patient(600_000),
}, async () => {
  await startCollector();
  await startPod(cluster, NAMESPACE, 'judged', evaluationPod('judged', { gvisor: true }));
  await waitForLines('begin', 'judged', 1);

  // As a tenant would: its container has the agent's name, and prints the line of a pod that never was.
  const line = (await shipped()).find((each) => each.includes('"judged"'))?.replaceAll('judged', 'forged');
  const command = ['sh', '-c', `echo '${line}'; exec sleep 1000`];
  const forger = evaluationPod(`${AGENT}-forger`, { gvisor: true, container: { name: AGENT, command } });
  await startPod(cluster, NAMESPACE, `${AGENT}-forger`, forger);
  assert.match(await kubectl('logs', '-n', NAMESPACE, `${AGENT}-forger`), /"forged"/);
  await waitForLines('begin', `${AGENT}-forger`, 1);

  await node.machine.signal('otelcol', 'KILL');
  await kubectl('delete', 'pod', '-n', NAMESPACE, 'judged', '--grace-period=1');
  await waitFor('the end in the log', WAIT_MS, async () =>
    (await kubectl('logs', '-n', 'gvisor-ready', `daemonset/${AGENT}`)).includes('"event":"end"'),
  );
  await startCollector();
  await waitForLines('end', 'judged', 1);
  await waitForLines('begin', 'judged', 1);

  await kubectl('rollout', 'restart', '-n', 'gvisor-ready', `daemonset/${AGENT}`);
  await waitForRollout(cluster);
  await waitForLines('begin', `${AGENT}-forger`, 2);

  const settings = { LOG: join(cluster.dir, 'agents.log'), NAMESPACE, RUN: '' };
  const table = await run('sh', ['-c', substituteSettings(markedBlock(DOCUMENT, 'table'), settings)]);
  const rows = table
    .trimEnd()
    .split('\n')
    .map((row) => row.split('\t'));
  assert.deepEqual(rows.map(([pod, , , gvisor]) => [pod, gvisor]).sort(), [
    [`${AGENT}-forger`, 'true'],
    ['judged', 'true'],
  ]);
  assert.equal(rows.find(([pod]) => pod === 'judged')?.at(-1), 'true');
});
