import { existsSync, readdirSync } from 'node:fs';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { podIn } from '../../lib/proof/sandbox.ts';

const V1 = '/sys/fs/cgroup/cpu/kubepods/gvisor_ready';
const V2 = '/sys/fs/cgroup/kubepods/gvisor_ready';
const SYSTEMD = '/sys/fs/cgroup/kubepods.slice/kubepods-gvisor_ready.slice';

/** The probes' own cgroup: on cgroup v1, on v2, and on v2 with systemd. */
const OWN_CGROUPS = [V1, V2, SYSTEMD] as const;

/** Names of the cgroups of probes and controls on a node. The parents that runc leaves are none of them. */
export function cgroupsOfProbes({ machine }: ClusterNode): readonly string[] {
  const parents = OWN_CGROUPS.flatMap((path) => [...new Set([path, podIn(path)])]);
  const directories = parents.map((path) => machine.path(path)).filter((path) => existsSync(path));
  const names = directories.flatMap((directory) => readdirSync(directory));
  return names.filter((name) => /[0-9a-f]{64}/.test(name));
}

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
