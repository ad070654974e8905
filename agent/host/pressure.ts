import timers from 'node:timers/promises';
import type { Host } from './host.ts';

/** A share of CPU time, in percent: a node that is idle for less than this is busy. */
const BUSY_BELOW = 10;
const SAMPLE_MS = 250;

/**
 * Why this node is slow just now, such as "its CPUs are idle 2 % of the time"; undefined where nothing shows that it
 * should be. Pressure stall information is not used: one throttled pod raises it to 80 % on an idle node. A CPU that
 * waits for a disk, or for the hypervisor (steal), is not idle.
 * Source: https://man7.org/linux/man-pages/man5/proc_stat.5.html
 */
export async function readPressure(host: Host): Promise<string | undefined> {
  const before = await readTimes(host);
  if (before === undefined) return undefined;
  await timers.setTimeout(SAMPLE_MS);
  const after = await readTimes(host);
  const all = (after?.all ?? 0) - before.all;
  const idle = Math.round((100 * ((after?.idle ?? 0) - before.idle)) / all);
  return all > 0 && idle < BUSY_BELOW ? `the node's CPUs are idle ${idle} % of the time` : undefined;
}

async function readTimes(host: Host): Promise<{ readonly idle: number; readonly all: number } | undefined> {
  const text = (await host.readText('/proc/stat').catch(() => undefined)) ?? '';
  // user nice system idle iowait irq softirq steal; guest times are part of the first two
  const times = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(' ').slice(0, 8).map(Number);
  return times && { idle: times[3] ?? 0, all: times.reduce((sum, time) => sum + time, 0) };
}
