import timers from 'node:timers/promises';
import type { Host } from './host.ts';

/** In percent. */
const MIN_IDLE = 10;
const SAMPLE_MS = 250;

/**
 * The reason, such as "the node's CPUs are idle 2 % of the time"; undefined if not busy. Waiting for a disk
 * or the hypervisor is not idle. Not PSI: one throttled pod raises it to 80 % on an idle node. Source:
 * https://man7.org/linux/man-pages/man5/proc_stat.5.html
 */
export async function readPressure(host: Host): Promise<string | undefined> {
  const before = await readTimes(host);
  if (before === undefined) return undefined;
  await timers.setTimeout(SAMPLE_MS);
  const after = await readTimes(host);
  const total = (after?.total ?? 0) - before.total;
  const idle = Math.round((100 * ((after?.idle ?? 0) - before.idle)) / total);
  return total > 0 && idle < MIN_IDLE ? `the node's CPUs are idle ${idle} % of the time` : undefined;
}

async function readTimes(host: Host): Promise<{ readonly idle: number; readonly total: number } | undefined> {
  const text = (await host.readText('/proc/stat').catch(() => undefined)) ?? '';
  // user nice system idle iowait irq softirq steal; guest times are part of the first two
  const times = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(' ').slice(0, 8).map(Number);
  return times && { idle: times[3] ?? 0, total: times.reduce((sum, time) => sum + time, 0) };
}
