import type { ClusterNode } from '../../cluster/node/node.ts';

const V1 = '/sys/fs/cgroup/cpu/kubepods/gvisor_ready';
const V2 = '/sys/fs/cgroup/kubepods/gvisor_ready';
const SYSTEMD = '/sys/fs/cgroup/kubepods.slice/kubepods-gvisor_ready.slice';

/** The probes' own cgroup: on cgroup v1, on v2, and on v2 with systemd. */
export const OWN_CGROUPS = [V1, V2, SYSTEMD] as const;

/** The files with its CPU share. */
const FILES = [`${V1}/cpu.shares`, `${V2}/cpu.weight`, `${SYSTEMD}/cpu.weight`] as const;

const POLL = `
for attempt in $(seq 600); do
  for file; do
    [ -e "$file" ] && value=$(cat "$file" 2>/dev/null) && echo "\${file##*/} $value" && exit
  done
  sleep 0.1
done
exit 1`;

/**
 * Reads the CPU share of the probes' cgroup, such as "cpu.weight 100". On cgroup v2 the cgroup exists only during a probe:
 * waits up to a minute, in which the caller must trigger an evaluation.
 */
export async function shareOfProbes({ system }: ClusterNode): Promise<string> {
  return (await system.run(['/bin/sh', '-c', POLL, 'sh', ...FILES], { timeoutMs: 120_000 })).trim();
}
