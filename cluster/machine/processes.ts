import { readdirSync, readFileSync } from 'node:fs';
import type { Machine } from './machine.ts';

/** The PID is that inside the machine; memory is in bytes. */
export type MachineProcess = {
  readonly pid: number;
  readonly argv: readonly string[];
  readonly rss: number;
  /** Proportional set size: shared pages count in part. 0 if the kernel does not report it. */
  readonly pss: number;
};

/** Includes processes of containers and of nested machines. */
export function processesIn(machine: Machine): MachineProcess[] {
  const proc = machine.path('/proc');
  return readdirSync(proc)
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const argv = readFileSync(`${proc}/${entry}/cmdline`, 'utf8').split('\0').slice(0, -1);
        return [{ pid: Number(entry), argv, ...memoryOf(`${proc}/${entry}`) }];
      } catch {
        return []; // it has ended
      }
    });
}

function memoryOf(directory: string): { rss: number; pss: number } {
  const bytes = (text: string, field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
  const rss = bytes(readFileSync(`${directory}/status`, 'utf8'), 'VmRSS');
  try {
    return { rss, pss: bytes(readFileSync(`${directory}/smaps_rollup`, 'utf8'), 'Pss') };
  } catch {
    return { rss, pss: 0 };
  }
}

/** The state in /proc/PID/stat (R, S, T ...); undefined if there is no such process. */
export function stateIn(machine: Machine, pid: number | undefined): string | undefined {
  if (pid === undefined) return undefined;
  try {
    return readFileSync(machine.path(`/proc/${pid}/stat`), 'utf8').replace(/^.*\) /s, '')[0];
  } catch {
    return undefined;
  }
}
