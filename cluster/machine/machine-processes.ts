import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from '../../hack/run.ts';

/** Processes that make or are the first process of a machine whose folder is `dir` or lies below it. */
export function processesOf(dir: string): { pid: number; init: boolean }[] {
  const found: { pid: number; init: boolean }[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const argv = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      const at = argv.findIndex((word) => word.endsWith('/machine-init.sh')); // of any checkout
      const folder = at === -1 ? undefined : argv[at + 1];
      if (folder === undefined || !(folder === dir || folder.startsWith(`${dir}/`))) continue;
      found.push({ pid: Number(entry), init: folder === dir && at === 1 && isFirst(entry) });
    } catch {
      // it ended while we looked
    }
  }
  return found;
}

function isFirst(pid: string): boolean {
  return /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/**
 * Kills every machine at or below `dir` and waits until nothing of them is left. It looks twice, since a process that
 * becomes another program has no arguments for a moment.
 */
export async function endProcesses(dir: string): Promise<void> {
  let looksWithout = 0;
  await waitFor(
    `the processes of ${dir} to end`,
    20_000,
    async () => {
      const left = processesOf(dir);
      for (const { pid } of left) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // it ended by itself
        }
      }
      looksWithout = left.length === 0 ? looksWithout + 1 : 0;
      return looksWithout >= 2 ? true : undefined;
    },
    20,
  );
}

/**
 * Whether a process that waits to be reaped, if at all, has ended whole, by its /proc/PID/stat. Where its first thread ends
 * before others, it is a zombie (Z) that still holds its ports; the 20th field counts those threads (proc_pid_stat(5)).
 */
export function hasEnded(stat: string): boolean {
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  return fields[0] === 'Z' && Number(fields[17]) <= 1;
}
