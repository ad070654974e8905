import { UsageError } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { CONTAINERD_CONFIG, containerdConfig } from '../node/config.ts';
import { endDeadShims } from '../node/dead-shims.ts';
import type { ClusterNode, NodeGvisor } from '../node/node.ts';
import { ensureImage } from '../tools/images.ts';
import { continueSandboxes } from './hung-sandboxes.ts';

/** Restores one part of a node, doing only what is necessary. */
export type Repair = (node: ClusterNode, cluster: Cluster) => Promise<void>;

/** The order in which all parts are restored. */
export const REPAIRS = {
  api: async (_node, cluster) => cluster.startControlPlane(),
  // Before containerd 1.7, which does not start while a sentry hangs.
  sandboxes: continueSandboxes,
  // A shim that is missing when containerd restarts leaves these.
  leftovers: async (node) => {
    if (node.spec.machine === 'namespaces') await endDeadShims(node.machine);
  },
  containerd: async (node) => node.startContainerd(),
  shim: async (node) => {
    await repairProgram(node, 'shim');
  },
  runsc: async (node) => {
    const gvisor = await repairProgram(node, 'runsc');
    await node.killWhere(([shell, script]) => shell === '/bin/sh' && script === gvisor?.runsc);
  },
  'runsc-config': async (node) => {
    const { config } = (await node.gvisor()) ?? {};
    if (config !== undefined) await node.write(config.file, config.text);
  },
  handler: async (node) => {
    const { handler = '' } = (await node.gvisor()) ?? {};
    await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, handler));
    if ((await containerdRuns(node)) && !(await node.hasLoadedConfig())) await node.restart('containerd');
  },
  'pause-image': async (node) => {
    await requireContainerd(node);
    await node.load(await ensureImage('pause', node.spec.arch));
  },
  // After everything that restarts containerd, without which a kubelet exits.
  kubelet: async (node) => {
    await requireContainerd(node);
    await node.startKubelet();
  },
  agent: async () => {}, // the kubelet starts it again
} as const satisfies Record<string, Repair>;

export type Part = keyof typeof REPAIRS;

async function repairProgram(node: ClusterNode, program: 'runsc' | 'shim'): Promise<NodeGvisor | undefined> {
  const gvisor = await node.gvisor();
  if (gvisor !== undefined) await node.installProgram(gvisor, program);
  return gvisor;
}

/** False if containerd has ended or is stopped by SIGSTOP. */
export async function containerdRuns(node: ClusterNode): Promise<boolean> {
  const state = await node.system.daemonState('containerd');
  return state !== undefined && state !== 'T';
}

/** Throws a UsageError if containerd does not run. */
export async function requireContainerd(node: ClusterNode): Promise<void> {
  if (await containerdRuns(node)) return;
  throw new UsageError(
    `containerd on ${node.name} does not run: heal that first (heal ${node.name} containerd-stopped, or containerd-hung).`,
  );
}
