import { rm } from 'node:fs/promises';
import { after, before } from 'node:test';
import { Cluster } from '../../cluster/cluster.ts';
import { requireRoot } from '../../cluster/machine/host-checks.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { patient } from '../../hack/run.ts';
import { overlay } from '../e2e/agents.ts';
import { laneCluster } from '../runner/lane.ts';
import { certificateUser } from './api-user.ts';
import { waitForPolicies } from './wait-for-policies.ts';

/** A user's `kubectl apply`, without the preferences in cluster/kuberc.yaml. */
export const USERS_APPLY = ['apply', '--server-side=false', '--force-conflicts=false', '--validate'] as const;

/** Fields of a user's kustomization that rename objects. */
export type Names = {
  readonly namespace?: string;
  readonly namePrefix?: string;
  readonly nameSuffix?: string;
};

/** Applies the base with components and waits until their policies are in force. */
export async function applyBase(
  cluster: Cluster,
  components: readonly string[],
  names: Names = {},
): Promise<void> {
  const directory = await overlay(components, [], names);
  await cluster.kubectl(['apply', '-k', directory], undefined, 60_000);
  await rm(directory, { recursive: true });
  const admin = await certificateUser(cluster, 'admin', ['system:masters']);
  await waitForPolicies({ as: (_, call) => admin(call) });
}

/** Creates the namespace `strict`, with Pod Security "restricted". Returns a function that tries a pod's spec there. */
export async function createRestrictedNamespace(
  cluster: Cluster,
): Promise<(spec: object) => Promise<string>> {
  const apply = (object: object, ...flags: readonly string[]) =>
    cluster.kubectl(['apply', ...flags, '-f', '-'], JSON.stringify({ apiVersion: 'v1', ...object }));
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await apply({ kind: 'Namespace', metadata: { name: 'strict', labels } });
  await apply({ kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'strict' } });
  const metadata = { name: 'x', namespace: 'strict' };
  return (spec) => apply({ kind: 'Pod', metadata, spec }, '--dry-run=server');
}

/** Starts etcd and an API server. No controller writes Nodes, pods or DaemonSets there. */
export async function startApiServer(): Promise<Cluster> {
  requireRoot();
  const cluster = await Cluster.open(await laneCluster('api'));
  await cluster.startApiServer();
  return cluster;
}

/** Registers hooks that start a cluster before the first test and remove it after the last. Returns an accessor. */
export function useStarted<Started>(purpose: string, start: () => Promise<Started>): () => Started {
  let started: Started | undefined;
  before(
    async () => {
      started = await start();
    },
    { timeout: patient(300_000) },
  );
  after(async () => removeCluster(await laneCluster(purpose)));
  return () => {
    if (started === undefined) throw new Error('The API server is not up yet');
    return started;
  };
}

/** {@link startApiServer} with the base and components, for the tests of a file. */
export const useApiServer = (components: readonly string[]): (() => Cluster) =>
  useStarted('api', async () => {
    const cluster = await startApiServer();
    await applyBase(cluster, components);
    return cluster;
  });
