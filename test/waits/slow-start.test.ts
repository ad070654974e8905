import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { CLUSTERS } from '../../cluster/clusters.ts';
import { controlPlaneOf } from '../../cluster/control-plane/control-plane.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { waitFor } from '../../hack/run.ts';
import { laneCluster } from '../runner/lane.ts';

let starting: Promise<Cluster> | undefined;
after(async () => {
  await Promise.allSettled([starting]);
  await removeCluster(await laneCluster('slow'));
});

describe('the start of a cluster on a slow machine', () => {
  it('tolerates an etcd so slow that the API server exits and restarts', async () => {
    const name = await laneCluster('slow');
    const controlPlane = controlPlaneOf(join(CLUSTERS, name));
    const pidOf = (daemon: string) => async () => controlPlane.daemonPid(daemon);

    starting = startCluster({ name, nodes: [], images: [] });
    starting.catch(() => {}); // awaited below
    await waitFor('etcd to start', 30_000, pidOf('etcd'), 5);
    await controlPlane.signal('etcd', 'STOP');
    const first = await waitFor('the API server to start', 30_000, pidOf('kube-apiserver'));
    const second = await waitFor('the API server to be started again', 60_000, async () => {
      const pid = controlPlane.daemonPid('kube-apiserver');
      return pid !== first ? pid : undefined;
    });
    await controlPlane.signal('etcd', 'CONT');

    const cluster = await starting;
    assert.equal(controlPlane.daemonPid('kube-apiserver'), second);
    assert.match(await cluster.get('/api/v1/namespaces/default/serviceaccounts/default'), /ServiceAccount/);
  });
});
