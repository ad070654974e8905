import { join, relative, resolve } from 'node:path';
import { after, before } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { healNode } from '../../cluster/faults/break-node.ts';
import { deployAgent } from '../../cluster/labels.ts';
import type { NodeRequest } from '../../cluster/plan/nodes.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import type { ImageId } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, runAll } from '../../hack/run.ts';
import { laneCluster, sharedCluster } from '../runner/lane.ts';
import { SHARING } from '../runner/tiers.ts';

/** The nodes of the cluster with gVisor. */
export const GVISOR_NODES = ['node-1', 'node-2'] as const;

/** Whether node-2, which has an older gVisor, has containerd 1.7 too: `test/nightly/other-tiers.test.ts` sets it. */
export const OLDER = process.env.E2E_CONTAINERD === '1.7';
const PURPOSE = OLDER ? 'older' : 'e2e';
const NODES: readonly NodeRequest[] = [
  { name: 'node-1' },
  { name: 'node-2', containerd: OLDER ? '1.7' : '2', gvisor: '2025' },
  { name: 'node-3', gvisor: 'none' },
];

/**
 * Starts the cluster that the files of a lane share, or its missing parts: three healed nodes with agents and a verdict.
 */
async function openCluster(): Promise<Cluster> {
  const images: readonly ImageId[] = ['workload', 'agent'];
  const cluster = await startCluster({ name: await sharedCluster(PURPOSE), nodes: NODES, images });
  await Promise.all(cluster.nodes().map((node) => healNode(cluster, node)));
  await deployAgent(cluster, join(REPO, 'manifests/base'));
  return cluster;
}

/** Removes the cluster unless the next file reuses it. */
async function closeCluster(): Promise<void> {
  if (process.env.KEEP_E2E_CLUSTER === undefined) await removeCluster(await sharedCluster(PURPOSE));
}

/** Registers hooks that open and prepare the cluster, and restore and close it. Returns an accessor of it. */
export function useCluster(
  prepare: (cluster: Cluster) => Promise<unknown> = async () => {},
  restore: (cluster: Cluster) => Promise<unknown> = async () => {},
): () => Cluster {
  const file = relative(REPO, resolve(process.argv[1] ?? ''));
  if (!SHARING.has(file)) throw new Error(`Name "${file}" in SHARING of test/runner/tiers.ts`);
  let cluster: Cluster | undefined;
  before(
    async () => {
      cluster = await openCluster();
      await prepare(cluster);
    },
    { timeout: patient(600_000) },
  );
  after(async () => {
    if (cluster !== undefined) await restore(cluster);
    await closeCluster();
  });
  return () => opened(cluster);
}

/** Registers hooks for a cluster of these nodes that only this file uses. Returns an accessor of it. */
export function useOwnCluster(
  purpose: string,
  nodes: readonly NodeRequest[],
  prepare: (cluster: Cluster) => Promise<unknown>,
  images: readonly ImageId[] = ['workload', 'agent'],
): () => Cluster {
  let cluster: Cluster | undefined;
  before(
    async () => {
      cluster = await startCluster({ name: await laneCluster(purpose), nodes, images });
      await prepare(cluster);
    },
    { timeout: patient(900_000) },
  );
  after(async () => removeCluster(await laneCluster(purpose)), { timeout: patient(60_000) });
  return () => opened(cluster);
}

function opened(cluster: Cluster | undefined): Cluster {
  if (cluster === undefined) throw new Error('The cluster is not up yet');
  return cluster;
}

/** Creates a namespace with labels, and waits for its default service account, without which it admits no pod. */
export async function createNamespace(
  cluster: Cluster,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<void> {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(namespace));
  const account = ['wait', '-n', name, '--for=create', 'serviceaccount/default', '--timeout=180s'];
  await cluster.kubectl(account, undefined, 70_000);
}

/** Creates an object in a namespace with kubectl, which may be refused; `output` has its messages. */
export async function tryCreate(
  cluster: Cluster,
  namespace: string,
  manifest: string,
  ...options: readonly string[]
): Promise<{ readonly code: number; readonly output: string }> {
  const create = cluster.kubectlCommand(['-n', namespace, 'create', '-f', '-', ...options]);
  const { code, stdout, stderr } = await runAll(create.command, create.args, { input: manifest });
  return { code, output: `${stderr}${stdout}`.trim() };
}

/** Creates a pod in a namespace, and waits until it is Ready. */
export async function startPod(cluster: Cluster, namespace: string, name: string, manifest: string) {
  await cluster.kubectl(['apply', '-n', namespace, '-f', '-'], manifest);
  const ready = ['wait', '-n', namespace, `pod/${name}`, '--for=condition=Ready', '--timeout=180s'];
  await cluster.kubectl(ready, undefined, 70_000);
}

/** A RuntimeClass of that handler (JSON). */
export function runtimeClass(name: string, handler: string, scheduling?: object): string {
  const metadata = { name };
  return JSON.stringify({
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata,
    handler,
    scheduling,
  });
}

/** Deletes pods without a grace period and waits until they are gone. */
export async function deletePods(cluster: Cluster, ...names: readonly string[]): Promise<void> {
  await cluster.kubectl(['delete', 'pod', ...names, '--ignore-not-found', '--grace-period=0', '--force']);
}
