import { join } from 'node:path';
import { kubeconfig } from '../control-plane/control-plane.ts';
import type { Authority } from '../control-plane/pki.ts';
import { CONTROL_PLANE_ADDRESS } from '../plan/addresses.ts';
import { CONTAINERD_TOOLS, type NodeSpec } from '../plan/nodes.ts';
import { ensureTools, toolsFor } from '../tools/tools.ts';
import { CONTAINERD_CONFIG, cniConfig, containerdConfig, KUBELET_CONFIG, kubeletConfig } from './config.ts';
import type { NodeSystem } from './system.ts';

/** containerd. Install gVisor first: the last file marks the container runtime as installed. */
export async function installRuntime(system: NodeSystem, spec: NodeSpec): Promise<void> {
  const group = CONTAINERD_TOOLS[spec.containerd];
  const tools = await toolsFor(spec.arch, [group]);
  // Copies: containerd looks for shims beside its own program, behind links, where no agent's mount leads.
  for (const program of ['containerd', 'containerd-shim-runc-v2']) {
    await system.install(join(tools[group], program), `/usr/local/bin/${program}`);
  }
  await system.provide(join(tools[group], 'ctr'), '/usr/local/bin/ctr');
  await system.write(CONTAINERD_CONFIG, containerdConfig(spec), 0o644);
}

/** With runc for pods outside gVisor, unless Debian's is there. The last file marks the kubelet as installed. */
export async function installKubelet(
  system: NodeSystem,
  spec: NodeSpec,
  authority: Authority,
): Promise<void> {
  const tools = await toolsFor(spec.arch, ['kubernetes', 'cni']);
  if (spec.arch === undefined)
    await system.provide(join((await ensureTools(['runc'])).runc, 'runc'), '/usr/local/bin/runc');
  await system.provide(join(tools.kubernetes, 'kubelet'), '/usr/local/bin/kubelet');
  await system.provide(tools.cni, '/opt/cni/bin');
  await system.write('/etc/cni/net.d/10-cluster.conflist', cniConfig(spec), 0o644);
  await system.write('/etc/kubernetes/pki/ca.crt', authority.cert, 0o644);
  const server = `https://${CONTROL_PLANE_ADDRESS}`;
  const config = await kubeconfig(authority, server, `system:node:${spec.name}`, ['system:nodes']);
  await system.write('/etc/kubernetes/kubelet.kubeconfig', config, 0o600);
  await system.write(KUBELET_CONFIG, kubeletConfig(spec), 0o644);
}
