import assert from 'node:assert/strict';
import { Cluster } from '../../cluster/cluster.ts';
import { requireRoot } from '../../cluster/machine/host-checks.ts';
import { waitFor } from '../../hack/run.ts';
import { applyOverlay } from '../e2e/agents.ts';
import { laneCluster } from '../runner/lane.ts';
import { KINDS, type PodPart, pod, workload } from './admission-objects.ts';
import { USERS } from './admission-users.ts';
import { useStarted } from './api-server.ts';
import type { ApiCall, ApiResponse, ApiUser } from './api-user.ts';
import { readCases } from './case-yaml.ts';
import { waitForPolicies } from './wait-for-policies.ts';
import type { WRITERS } from './writer-users.ts';

export type UserName = keyof typeof USERS | keyof typeof WRITERS;

/** A cluster with the policies in force, and the users. */
export type Admission = {
  readonly cluster: Cluster;
  as(user: UserName, call: ApiCall): Promise<ApiResponse>;
};

/** Starts etcd, an API server and a controller manager, without nodes, and calls {@link prepareAdmission}. */
export async function startAdmission(components: readonly string[]): Promise<Admission> {
  requireRoot();
  const cluster = await Cluster.open(await laneCluster('admission'));
  await cluster.startControlPlane();
  await cluster.waitForServiceAccount();
  return prepareAdmission(cluster, components);
}

/** The file `cases/objects.yaml`. */
type Objects = {
  readonly objects: readonly object[];
  readonly pods: Readonly<Record<string, PodPart>>;
  readonly waiting: { readonly pod: PodPart; readonly namespaces: readonly string[] };
};

/**
 * Creates the namespaces, the users, and pods and workloads that are older than the policies, then applies the base with
 * components and waits until its policies are in force.
 */
async function prepareAdmission(cluster: Cluster, components: readonly string[]): Promise<Admission> {
  const { objects, pods, waiting } = readCases<Objects>('objects');
  const apply = (items: readonly object[]) =>
    cluster.kubectl(
      ['apply', '--server-side', '--force-conflicts', '--field-manager=fixture', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    );
  await apply(objects);
  for (const namespace of ['strict', 'audited', ...waiting.namespaces]) {
    const account = ['wait', '-n', namespace, '--for=create', 'serviceaccount/default', '--timeout=270s'];
    await cluster.kubectl(account);
  }
  const older = (part: PodPart, name: string, namespace: string) =>
    pod({ ...part, metadata: { ...part.metadata, name, namespace } });
  await apply([
    ...Object.entries(pods).flatMap(([name, part]) =>
      ['strict', 'audited'].map((namespace) => older(part, name, namespace)),
    ),
    ...waiting.namespaces.map((namespace) => older(waiting.pod, 'waiting', namespace)),
    ...KINDS.map((kind) => workload(kind, {}, { name: 'older', namespace: 'strict' })),
  ]);
  await debugOlder(cluster);
  await applyOverlay(cluster, components);
  const admission = { cluster, as: callsAs(cluster, USERS) };
  await waitForPolicies(
    admission,
    components.includes('inject') ? ['validating', 'mutating'] : ['validating'],
  );
  return admission;
}

/** Sends calls of these users, with one client each. */
export function callsAs(
  cluster: Cluster,
  users: Readonly<Record<string, (cluster: Cluster) => Promise<ApiUser>>>,
): Admission['as'] {
  const clients = new Map<string, Promise<ApiUser>>();
  return async (name, call) => {
    const client = clients.get(name) ?? users[name]?.(cluster) ?? assert.fail(`no user ${name}`);
    clients.set(name, client);
    return (await client)(call);
  };
}

/** Adds an ephemeral container to `old-plain`; a pod cannot be created with one. */
async function debugOlder(cluster: Cluster): Promise<void> {
  const patch = { spec: { ephemeralContainers: [{ name: 'older', image: 'localhost/none' }] } };
  const args = ['patch', 'pod', 'old-plain', '-n', 'strict', '--subresource=ephemeralcontainers'];
  await cluster.kubectl([...args, '-p', JSON.stringify(patch)]);
}

/** {@link startAdmission} for the tests of a file. */
export const useAdmission = (components: readonly string[]): (() => Admission) =>
  useStarted('admission', () => startAdmission(components));

/** Repeats a call until its response matches. */
export async function waitForResponse(
  what: string,
  call: () => Promise<ApiResponse>,
  matches: (response: ApiResponse) => boolean,
): Promise<ApiResponse> {
  return waitFor(what, 30_000, async () => {
    const response = await call();
    if (matches(response)) return response;
    throw new Error(`${response.code} ${response.message} ${response.warnings.join(' ')}`);
  });
}
