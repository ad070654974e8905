import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import type { ForeignArch } from '../../cluster/plan/nodes.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { waitForMetric, waitForNode } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { DIRECTORY, installWords, PROGRAM, packInstaller } from '../e2e/installer-nodes.ts';

export const VM_NODE = 'node-1';

/** Timeout for a machine that may be emulated. */
export const TIMEOUT_MS = 240_000;

/** The cluster of the tests and its node, which is a virtual machine. */
export type VmCluster = { readonly cluster: Cluster; readonly node: ClusterNode };

/** Registers hooks for a cluster of one virtual machine with the agent deployed. */
export function useVmCluster(): () => VmCluster {
  const cluster = useOwnCluster('vm', [{ name: VM_NODE, machine: 'vm' }], async (opened) => {
    await opened.kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
    await waitForLabel(opened, 'true');
  });
  return () => ({ cluster: cluster(), node: cluster().node(VM_NODE) });
}

/** An installation reads and boots gVisor twice, on an emulated processor. */
export const INSTALL_MS = 600_000;

/** A machine with the installer and its releases, and commands on it; both reject with the output. */
export type InstallerMachine = VmCluster & {
  readonly shell: (script: string) => Promise<string>;
  readonly install: (release: string) => Promise<string>;
};

/** Registers hooks for a cluster of one virtual machine without gVisor, with the agent deployed. */
export function useInstallerMachine(purpose: string, arch?: ForeignArch): () => InstallerMachine {
  let packed = '';
  before(async () => {
    packed = await mkdtemp(join(CACHE, 'installer-')); // the guest sees the cache
    await packInstaller(packed, arch);
  });
  after(() => rm(packed, { recursive: true, force: true }));
  const machineOf = (cluster: Cluster): InstallerMachine => {
    const node = cluster.node(VM_NODE);
    const shell = (script: string) => node.system.run(['/bin/sh', '-ec', script], { timeoutMs: INSTALL_MS });
    return {
      cluster,
      node,
      shell,
      install: (release) => shell([PROGRAM, ...installWords(release)].join(' ')),
    };
  };
  const system = arch === undefined ? ({ machine: 'vm' } as const) : { arch };
  const cluster = useOwnCluster(purpose, [{ name: VM_NODE, gvisor: 'none', ...system }], async (opened) => {
    await machineOf(opened).shell(`cp -r ${packed} ${DIRECTORY}`);
    await opened.kubectl(['apply', '-k', join(REPO, 'manifests/base')]);
    await waitForLabel(opened, 'false');
  });
  return () => machineOf(cluster());
}

/** Waits for a value of the node's label, and for its condition if given. */
export async function waitForLabel(
  cluster: Cluster,
  ready: 'true' | 'false',
  condition?: string,
): Promise<void> {
  await waitForNode(
    cluster,
    VM_NODE,
    (readiness) => readiness.ready === ready && readiness.condition === (condition ?? readiness.condition),
    TIMEOUT_MS,
  );
}

/** Waits for a line of the agent's metrics. */
export async function showsMetric({ cluster }: VmCluster, line: string): Promise<void> {
  await waitForMetric(cluster, VM_NODE, line, TIMEOUT_MS);
}

/** The cgroup of a pod's sandbox, as a path below /sys/fs/cgroup. */
export async function cgroupOfSandbox({ node }: VmCluster, pod: string): Promise<string> {
  const labels = { 'io.kubernetes.pod.name': pod, 'io.cri-containerd.kind': 'sandbox' };
  const filter = Object.entries(labels).map(([key, value]) => `labels."${key}"==${value}`);
  // A sandbox that ended with the machine is listed until the kubelet removes it.
  const ids = (await node.ctr(['containers', 'list', '--quiet', filter.join(',')])).trim().split('\n');
  const sandbox = (await node.system.processes()).find(
    ({ argv }) => argv[0] === 'runsc-sandbox' && ids.some((id) => argv.includes(id)),
  );
  if (sandbox === undefined)
    throw new Error(`No sandbox of gVisor runs for the pod "${pod}" (${ids.join(', ')})`);
  return (await node.system.read(`/proc/${sandbox.pid}/cgroup`)).trim().replace(/^0::/, '');
}

const BURN_S = 10;

/** The share of one processor that a cgroup uses over ten seconds, by cpu.stat and the guest's clock. */
export async function shareOfProcessor({ node }: VmCluster, cgroup: string): Promise<number> {
  const measure = 'cut -d" " -f1 /proc/uptime; sed -n "s/^usage_usec //p" "/sys/fs/cgroup$1/cpu.stat"';
  const script = `${measure}; sleep ${BURN_S}; ${measure}`;
  const text = await node.system.run(['/bin/sh', '-ec', script, 'sh', cgroup]);
  const [from = 0, used = 0, to = 0, usedThen = 0] = text.trim().split('\n').map(Number);
  return (usedThen - used) / 1e6 / (to - from);
}

/** Reboots the machine and waits until it accepts commands again. */
export async function reboot({ node }: VmCluster): Promise<void> {
  const bootId = () => node.system.run(['cat', '/proc/sys/kernel/random/boot_id'], { timeoutMs: 30_000 });
  const before = await bootId();
  await node.system.run(['systemctl', 'reboot', '--no-block']);
  await waitFor(`${node.name} to start again`, TIMEOUT_MS, async () => {
    return (await bootId()) === before ? undefined : true;
  });
}
