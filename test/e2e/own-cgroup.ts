import type { ClusterNode } from '../../cluster/node/node.ts';

const V1 = '/sys/fs/cgroup/cpu/kubepods/gvisor_ready';
const V2 = '/sys/fs/cgroup/kubepods/gvisor_ready';
const SYSTEMD = '/sys/fs/cgroup/kubepods.slice/kubepods-gvisor_ready.slice';

/** The probes' own cgroup: on cgroup v1, on v2, and on v2 with systemd. */
export const OWN_CGROUPS = [V1, V2, SYSTEMD] as const;

/** What tells its share of the CPU. */
const FILES = [`${V1}/cpu.shares`, `${V2}/cpu.weight`, `${SYSTEMD}/cpu.weight`] as const;

const POLL = `
for try in $(seq 600); do
  for file; do
    [ -e "$file" ] && value=$(cat "$file" 2>/dev/null) && echo "\${file##*/} $value" && exit
  done
  sleep 0.1
done
exit 1`;

/**
 * The share of the CPU that the probes' own cgroup has, as "cpu.weight 100". On cgroup v2 it is there only while a probe
 * runs, and this waits a minute for one: the caller makes the agent look meanwhile.
 */
export async function shareOfProbes({ system }: ClusterNode): Promise<string> {
  return (await system.run(['/bin/sh', '-c', POLL, 'sh', ...FILES], { timeoutMs: 120_000 })).trim();
}
