import { join } from 'node:path';
import { ensureTools } from '../tools.ts';
import { HUB_ADDRESS, kubeconfig } from './control-plane.ts';
import type { ClusterNode } from './node.ts';
import {
  CONTAINERD_CONFIG,
  CONTAINERD_TOOLS,
  cniConfig,
  containerdConfig,
  KUBELET_CONFIG,
  kubeletConfig,
} from './node-config.ts';
import type { Authority } from './pki.ts';

/** Puts containerd, runc, gVisor, the kubelet and their configuration at the standard paths of a node that has none. */
export async function installNode(node: ClusterNode, authority: Authority): Promise<void> {
  const group = CONTAINERD_TOOLS[node.spec.containerd];
  const tools = await ensureTools(['kubernetes', 'cni', 'runc', group]);
  const { system } = node;
  for (const program of ['containerd', 'ctr', 'containerd-shim-runc-v2']) {
    await system.provide(join(tools[group], program), `/usr/local/bin/${program}`);
  }
  await system.provide(join(tools.runc, 'runc'), '/usr/local/bin/runc');
  await system.provide(join(tools.kubernetes, 'kubelet'), '/usr/local/bin/kubelet');
  await system.provide(tools.cni, '/opt/cni/bin');
  if (node.spec.gvisor !== 'none') await node.installGvisor();
  await node.write('/etc/cni/net.d/10-cluster.conflist', cniConfig(node.spec));
  await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec));
  await node.write('/etc/kubernetes/pki/ca.crt', authority.cert);
  const server = `https://${HUB_ADDRESS}`;
  const config = await kubeconfig(authority, server, `system:node:${node.name}`, ['system:nodes']);
  await node.write('/etc/kubernetes/kubelet.kubeconfig', config, 0o600);
  // Last, and whole or not at all: it says that the node is installed.
  await node.write(KUBELET_CONFIG, kubeletConfig(node.spec));
}
