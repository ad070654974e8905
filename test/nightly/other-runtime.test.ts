import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { containerdConfig, gvisorTable, KUBELET_CONFIG } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { ensureImage } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';

/**
 * Nodes with two containerds: one at the standard socket, and the kubelet's at the socket of a distribution. The base is
 * deployed unmodified, so the agent cannot see anything below /var.
 */
const K3S = '/run/k3s/containerd/containerd.sock'; // of RKE2, too
const NODES = [
  // gVisor works in the other containerd, and the kubelet's own runs runc instead.
  { name: 'k3s-broken', socket: K3S, handler: 'runc' },
  // The reverse: gVisor works only in the standard containerd.
  { name: 'k3s-ready', socket: K3S, handler: 'runsc' },
  { name: 'microk8s', socket: '/var/snap/microk8s/common/run/containerd.sock', handler: 'runc' },
] as const;

let cluster: Cluster;

describe("a node whose kubelet's containerd is not at the standard socket", () => {
  useOwnCluster('other-runtime', NODES, async (started) => {
    cluster = started;
    for (const spec of NODES) await moveKubelet(cluster.node(spec.name), spec);
    await cluster.kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
  });

  it("is judged by the kubelet's containerd where that socket is visible", async () => {
    const broken = await waitForNode(cluster, 'k3s-broken', ({ ready }) => ready !== '');
    assert.deepEqual([broken.ready, broken.condition], ['false', 'False HandlerRunsRunc']);
    const proven = await waitForNode(cluster, 'k3s-ready', ({ ready }) => ready !== '');
    assert.deepEqual([proven.ready, proven.condition], ['true', 'True SandboxProven']);
  });

  it('is Unknown where it is not visible, even if gVisor works in the other containerd', async () => {
    const readiness = await waitForNode(cluster, 'microk8s', ({ ready }) => ready !== '', 120_000);
    assert.deepEqual([readiness.ready, readiness.condition], ['false', 'Unknown WrongRuntime']);
  });
});

/** Starts a second containerd in a node, at a socket and directories of its own, and lets the kubelet use that one. */
async function moveKubelet(node: ClusterNode, { socket, handler }: (typeof NODES)[number]): Promise<void> {
  const runsc = gvisorTable(node.spec);
  const table =
    handler === 'runsc' ? runsc : runsc.split('\n').slice(0, 3).join('\n').replace('runsc.v1', 'runc.v2');
  const directory = '/var/lib/containerd/of-the-kubelet';
  const own = `root = "${directory}"\nstate = "/run/of-the-kubelet"\n`;
  const config = containerdConfig(node.spec, `${table}\n[grpc]\n  address = "${socket}"\n`);
  await node.write('/etc/of-the-kubelet.toml', config.replace('\n', `\n${own}`));
  await node.system.run(['mkdir', '-p', directory, socket.slice(0, socket.lastIndexOf('/'))]);
  const command = 'setsid containerd --config=/etc/of-the-kubelet.toml > /var/log/of-the-kubelet.log 2>&1 &';
  await node.system.run(['sh', '-c', command]);
  const ctr = (...args: string[]) =>
    node.system.run(['ctr', `--address=${socket}`, '--namespace=k8s.io', ...args]);
  await waitFor(`the kubelet's containerd on ${node.name}`, 20_000, () => ctr('version').then(() => true));
  for (const id of ['pause', 'workload', 'agent'] as const)
    await ctr('images', 'import', (await ensureImage(id)).archive);
  const kubelet = JSON.parse(await node.system.read(KUBELET_CONFIG)) as object;
  const moved = { ...kubelet, containerRuntimeEndpoint: `unix://${socket}` };
  await node.write(KUBELET_CONFIG, JSON.stringify(moved));
  await node.restart('kubelet');
}
