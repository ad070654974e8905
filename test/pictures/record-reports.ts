import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { deployAgent } from '../../cluster/labels.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import type { Status } from '../../lib/report/report.ts';
import { getFromAgentForwarded } from '../e2e/agents.ts';

/**
 * Records reports of a real agent in the usual states of a node, in test/fixtures/reports, for unit tests. Run it
 * with `npx tsx test/pictures/record-reports.ts`.
 */
async function record(cluster: Cluster): Promise<void> {
  const node = cluster.node('node-1');
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  for (const name of ['evaluations', 'logging']) await cluster.kubectl(['create', 'namespace', name]);
  await cluster.kubectl(['label', 'namespace', 'evaluations', 'gvisor-ready.dev/require=true']);
  await create(cluster, 'evaluations', ['solver-1', 'solver-2'], true);
  await create(cluster, 'logging', ['log-shipper'], false);
  await reach(cluster, ({ pods }) => pods?.running === 4 && pods.requirementsKnown, 'proven');
  await create(cluster, 'evaluations', ['plain', 'grader-x7p2d'], false);
  await reach(cluster, ({ pods }) => pods?.violating.length === 2, 'outside');
  await cluster.kubectl(['-n', 'evaluations', 'delete', 'pod', 'plain', 'grader-x7p2d', '--force']);
  for (const name of [undefined, 'failing']) {
    await breakNode(cluster, node, 'runsc-missing');
    await reach(cluster, published('False'), name);
    await healNode(cluster, node);
    await reach(cluster, published('True'));
  }
}

const published =
  (status: string) =>
  ({ nodeWrites }: Status): boolean =>
    nodeWrites?.condition?.status === status;

async function create(cluster: Cluster, namespace: string, names: readonly string[], gvisor: boolean) {
  for (const name of names)
    await cluster.kubectl(['-n', namespace, 'apply', '-f', '-'], evaluationPod(name, { gvisor }));
}

/** Waits for a report that `holds`, and writes it to the fixture `name`. */
async function reach(cluster: Cluster, holds: (status: Status) => boolean | undefined, name?: string) {
  const text = await waitFor(`the report ${name ?? ''}`, 120_000, async () => {
    const response = await getFromAgentForwarded(cluster, 'node-1', '/report');
    return response.code === 200 && holds(JSON.parse(response.text) as Status) ? response.text : undefined;
  });
  if (name === undefined) return;
  const all = Object.entries(JSON.parse(text)).map(([key, value]) => `"${key}": ${linesOf(value)}`);
  await writeFile(join(REPO, `test/fixtures/reports/${name}.json`), `{\n${all.join(',\n')}\n}\n`);
}

/** JSON in a line, or a line for each item. */
function linesOf(value: unknown): string {
  if (!Array.isArray(value) || value.length === 0) return JSON.stringify(value);
  return `[\n${value.map((item) => JSON.stringify(item)).join(',\n')}\n]`;
}

const name = 'reports';
try {
  const nodes = [{ name: 'node-1', containerd: '2', gvisor: 'current' }] as const;
  await record(await startCluster({ name, nodes, images: ['workload', 'agent'] }));
} finally {
  await removeCluster(name);
}
