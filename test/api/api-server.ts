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

/** Applies the base with components and waits until their policies are in force. `names` are fields of the kustomization. */
export async function applyBase(
  cluster: Cluster,
  components: readonly string[],
  names: { readonly namespace?: string; readonly namePrefix?: string; readonly nameSuffix?: string } = {},
): Promise<void> {
  const directory = await overlay(components, [], names);
  await cluster.kubectl(['apply', '-k', directory], undefined, 60_000);
  await rm(directory, { recursive: true });
  const admin = await certificateUser(cluster, 'admin', ['system:masters']);
  await waitForPolicies({ as: (_, call) => admin(call) });
}

/**
 * Registers hooks that start etcd and an API server with the base and components, and remove them after the last test. No
 * controller writes Nodes, pods or DaemonSets there. Returns an accessor of the cluster.
 */
export function useApiServer(components: readonly string[]): () => Cluster {
  let cluster: Cluster | undefined;
  before(
    async () => {
      requireRoot();
      cluster = await Cluster.open(await laneCluster('api'));
      await cluster.startApiServer();
      await applyBase(cluster, components);
    },
    { timeout: patient(180_000) },
  );
  after(async () => removeCluster(await laneCluster('api')));
  return () => {
    if (cluster === undefined) throw new Error('The API server is not up yet');
    return cluster;
  };
}
