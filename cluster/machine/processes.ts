import { readdirSync, readFileSync } from 'node:fs';
import type { Machine } from './machine.ts';

/** A process of a machine: its PID there, its arguments, and its memory in bytes. */
export type MachineProcess = {
  readonly pid: number;
  readonly argv: readonly string[];
  readonly rss: number;
  /** Its share of memory: pages that several processes hold count in part. 0 where the kernel does not tell. */
  readonly pss: number;
};

/** The processes of a machine, those of its containers and of machines inside it included. */
export function processesIn(machine: Machine): MachineProcess[] {
  const proc = machine.path('/proc');
  return readdirSync(proc)
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const argv = readFileSync(`${proc}/${entry}/cmdline`, 'utf8').split('\0').slice(0, -1);
        return [{ pid: Number(entry), argv, ...memoryOf(`${proc}/${entry}`) }];
      } catch {
        return []; // it ended while we looked
      }
    });
}

function memoryOf(folder: string): { rss: number; pss: number } {
  const bytes = (text: string, field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
  const rss = bytes(readFileSync(`${folder}/status`, 'utf8'), 'VmRSS');
  try {
    return { rss, pss: bytes(readFileSync(`${folder}/smaps_rollup`, 'utf8'), 'Pss') };
  } catch {
    return { rss, pss: 0 };
  }
}

/** One of the states of a process as /proc/PID/stat has it (R, S, T …), or undefined when there is none. */
export function stateIn(machine: Machine, pid: number | undefined): string | undefined {
  if (pid === undefined) return undefined;
  try {
    return readFileSync(machine.path(`/proc/${pid}/stat`), 'utf8').replace(/^.*\) /s, '')[0];
  } catch {
    return undefined;
  }
}
