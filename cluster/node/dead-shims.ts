import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Machine, MachineProcess } from '../machine/machine.ts';
import { processesIn } from '../machine/machine.ts';
import { SHIM } from './config.ts';

/** The kernel's suffix of a removed working directory. */
const REMOVED = ' (deleted)';

/**
 * Kills shims without a sandbox, and what is left of sandboxes that containerd has given up. gVisor's shim deadlocks if
 * its sandbox dies while a container starts in it, and a starting containerd 1.x waits for it without a timeout.
 */
export async function endDeadShims(machine: Machine): Promise<void> {
  await endShims(machine, (bundle) => {
    if (bundle.endsWith(REMOVED)) return true;
    const pid = Number(readFileSync(`${bundle}/init.pid`, 'utf8'));
    return !existsSync(machine.path(`/proc/${pid}`));
  });
  await endWhere(machine, ({ argv }) => {
    const bundle = argv.find((word) => word.startsWith('--bundle='))?.slice('--bundle='.length);
    const isSandbox = argv[0] === 'runsc-sandbox' || argv[0] === 'runsc-gofer';
    return isSandbox && bundle !== undefined && !existsSync(machine.path(bundle));
  });
}

/** Shims of probes also deadlock if containerd ends while a container starts. See docs/operations.md. */
export async function endProbeShims(machine: Machine): Promise<void> {
  const probe = /"io\.kubernetes\.cri\.sandbox-name":\s*"gvisor-probe-/;
  await endShims(machine, (bundle) => probe.test(readFileSync(`${bundle}/config.json`, 'utf8')));
}

/** Recognizes gVisor's shim from wherever it was started. */
export function isShim([program = '']: readonly string[]): boolean {
  return basename(program) === basename(SHIM);
}

/** The working directory of a shim is its bundle. */
async function endShims(machine: Machine, match: (bundle: string) => boolean): Promise<void> {
  await endWhere(machine, ({ argv, pid }) => {
    try {
      return isShim(argv) && match(machine.path(readlinkSync(machine.path(`/proc/${pid}/cwd`))));
    } catch {
      return false; // it has ended, or has not started its sandbox yet
    }
  });
}

async function endWhere(machine: Machine, match: (process: MachineProcess) => boolean): Promise<void> {
  const pids = processesIn(machine)
    .filter(match)
    .map(({ pid }) => pid);
  if (pids.length > 0) await machine.kill('KILL', pids);
}
