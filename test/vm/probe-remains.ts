import { basename } from 'node:path';
import { gvisorConfig, RUNSC_CONFIG, SHIM } from '../../cluster/node/config.ts';
import { waitFor } from '../../hack/run.ts';
import { POD_UID, PROBE_LABELS } from '../../lib/proof/sandbox.ts';
import { showsMetric, TIMEOUT_MS, type VmCluster } from './vm-cluster.ts';

/** A containerd filter for probes: their labels, and no pod UID. An absent label matches like an empty one. */
const OF_PROBES = [
  ...Object.entries(PROBE_LABELS).map(([key, value]) => `labels."${key}"=="${value}"`),
  `labels."${POD_UID}"~="^$"`,
].join(',');

/** Prints the directory, named by container ID, of each gVisor shim. A fault may have replaced its program. */
const BUNDLES = `
for process in /proc/[0-9]*; do
  case $(readlink "$process/exe") in
    ${SHIM}*) readlink "$process/cwd" || : ;;
  esac
done`;

/**
 * Lists resources of probes on the node: processes in their cgroup, shims of sandboxes unknown to containerd, and containers
 * without a pod. A running probe is included.
 */
async function readRemains({ node }: VmCluster): Promise<readonly string[]> {
  const list = async (...filter: string[]) =>
    lines(await node.ctr(['containers', 'list', '--quiet', ...filter]));
  const containers = await list(OF_PROBES);
  const inside = await node.system.run(['/bin/sh', '-c', 'grep -ls gvisor_ready /proc/[0-9]*/cgroup || :']);
  const bundles = lines(await node.system.run(['/bin/sh', '-c', BUNDLES]));
  const known = await list(); // last, so that a new shim has its container by now
  const shims = bundles.filter((bundle) => !known.includes(basename(bundle)));
  return [
    ...lines(inside).map((file) => `a process in the cgroup of probes: ${file}`),
    ...shims.map((bundle) => `a shim in ${bundle}`),
    ...containers.map((id) => `container ${id}`),
  ];
}

/** Waits until a running probe is visible, so that {@link waitForCleanup} cannot pass without one. */
export async function waitForProbe(vm: VmCluster): Promise<void> {
  const { node } = vm;
  await waitFor('a running probe', TIMEOUT_MS, async () => {
    await node.write(RUNSC_CONFIG, gvisorConfig(node.spec)); // unchanged, but triggers an evaluation
    const remains = await readRemains(vm);
    return ['a process', 'container'].every((what) => remains.some((line) => line.startsWith(what)));
  });
}

/** Waits until no resources of probes remain, and the agent counts no orphans. */
export async function waitForCleanup(vm: VmCluster): Promise<void> {
  let remains: readonly string[] = [];
  await waitFor('no resources of probes', 60_000, async () => {
    remains = await readRemains(vm);
    return remains.length === 0;
  }).catch((cause: unknown) => {
    throw new Error(`Resources of probes remain: ${remains.join(', ')}`, { cause });
  });
  await showsMetric(vm, 'gvisor_ready_probe_orphans 0');
}

function lines(text: string): string[] {
  return text.split('\n').filter(Boolean);
}
