import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from '../../hack/run.ts';

/** First processes of machines at or below `dir`, and the processes that start them. */
export function processesOf(dir: string): { pid: number; init: boolean }[] {
  const found: { pid: number; init: boolean }[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const argv = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      const at = argv.findIndex((word) => word.endsWith('/machine-init.sh')); // of any checkout
      const directory = at === -1 ? undefined : argv[at + 1];
      if (directory === undefined || !(directory === dir || directory.startsWith(`${dir}/`))) continue;
      found.push({ pid: Number(entry), init: directory === dir && at === 1 && isFirst(entry) });
    } catch {
      // it has ended
    }
  }
  return found;
}

function isFirst(pid: string): boolean {
  return /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/**
 * Kills every machine at or below `dir` and waits until it has ended. Checks twice, since a process has no arguments for
 * a moment during exec.
 */
export async function endProcesses(dir: string): Promise<void> {
  let checksWithout = 0;
  await waitFor(
    `the processes of ${dir} to end`,
    20_000,
    async () => {
      const left = processesOf(dir);
      for (const { pid } of left) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // it has ended
        }
      }
      checksWithout = left.length === 0 ? checksWithout + 1 : 0;
      return checksWithout >= 2 ? true : undefined;
    },
    20,
  );
}

/**
 * All its threads have ended. If its main thread ends first, the state is Z (zombie) although others still hold its
 * ports; field 20 counts threads. Source: proc_pid_stat(5).
 */
export function hasEnded(stat: string): boolean {
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  return fields[0] === 'Z' && Number(fields[17]) <= 1;
}
