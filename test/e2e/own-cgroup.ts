import type { ClusterNode } from '../../cluster/node/node.ts';

/** What tells the share of the CPU that the probes' own cgroup has: on cgroup v1, on v2, and on v2 with systemd. */
const FILES = [
  '/sys/fs/cgroup/cpu/kubepods/gvisor_ready/cpu.shares',
  '/sys/fs/cgroup/kubepods/gvisor_ready/cpu.weight',
  '/sys/fs/cgroup/kubepods.slice/kubepods-gvisor_ready.slice/cpu.weight',
] as const;

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
