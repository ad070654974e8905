import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import type { Machine } from './machine.ts';
import { processesIn } from './processes.ts';

/**
 * Kills the shims of that path whose sandbox is gone. gVisor's shim deadlocks when its sandbox dies while a container
 * starts in it, and a containerd 1.x that finds such a shim when it starts waits for it without a deadline.
 */
export async function endDeadShims(machine: Machine, shim: string): Promise<void> {
  const dead = processesIn(machine).filter(({ argv, pid }) => argv[0] === shim && !hasSandbox(machine, pid));
  if (dead.length === 0) return;
  await machine.kill(
    'KILL',
    dead.map(({ pid }) => pid),
  );
}

/** A shim works in its bundle, where the sandbox's PID stands; while it starts one there is none yet. */
function hasSandbox(machine: Machine, shim: number): boolean {
  try {
    const bundle = readlinkSync(machine.path(`/proc/${shim}/cwd`));
    const pid = Number(readFileSync(machine.path(`${bundle}/init.pid`), 'utf8'));
    return existsSync(machine.path(`/proc/${pid}`));
  } catch {
    return true; // it ended while we looked, or has yet to start its sandbox
  }
}
