import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import type { Machine } from '../machine/machine.ts';
import { processesIn } from '../machine/processes.ts';

/**
 * Kills the shims of that path whose sandbox is gone. gVisor's shim deadlocks when its sandbox dies while a container
 * starts in it, and a containerd 1.x that finds such a shim when it starts waits for it without a deadline.
 */
export async function endDeadShims(machine: Machine, shim: string): Promise<void> {
  await endShims(machine, shim, (bundle) => {
    const pid = Number(readFileSync(`${bundle}/init.pid`, 'utf8'));
    return !existsSync(machine.path(`/proc/${pid}`));
  });
}

/**
 * Kills the shims of probes, for a containerd 1.x that waits for one: it also deadlocks when containerd itself ends while
 * a container starts. docs/operations.md tells how to do that on a real node.
 */
export async function endProbeShims(machine: Machine, shim: string): Promise<void> {
  const probe = /"io\.kubernetes\.cri\.sandbox-name":\s*"gvisor-probe-/;
  await endShims(machine, shim, (bundle) => probe.test(readFileSync(`${bundle}/config.json`, 'utf8')));
}

/** A shim works in its bundle. */
async function endShims(machine: Machine, shim: string, match: (bundle: string) => boolean): Promise<void> {
  const pids = processesIn(machine)
    .filter(({ argv, pid }) => {
      try {
        return argv[0] === shim && match(machine.path(readlinkSync(machine.path(`/proc/${pid}/cwd`))));
      } catch {
        return false; // it ended while we looked, or has yet to start its sandbox
      }
    })
    .map(({ pid }) => pid);
  if (pids.length > 0) await machine.kill('KILL', pids);
}
