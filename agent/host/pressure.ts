import type { Host } from './host.ts';

/** A share of time, in percent, in which some process waits for a resource: more is pressure. Idle nodes show under 5. */
const SHARES = { cpu: 20, io: 20, memory: 10 } as const;
/** Processes that want to run, per processor, where the kernel tells no pressure. */
const QUEUE = 1.5;

/**
 * Why this node is slow just now, such as "some processes waited for cpu 97 % of the last minute"; undefined where
 * nothing shows that it should be. Pressure stall information decides, or the run queue where the kernel has none.
 * Sources: https://docs.kernel.org/accounting/psi.html, https://man7.org/linux/man-pages/man5/proc_loadavg.5.html
 */
export async function readPressure(host: Host): Promise<string | undefined> {
  const texts = await Promise.all(
    Object.keys(SHARES).map((resource) => host.readText(`/proc/pressure/${resource}`).catch(() => undefined)),
  );
  if (texts.every((text) => text === undefined)) return readQueue(host);
  for (const [index, [resource, most]] of Object.entries(SHARES).entries()) {
    const share = someShare(texts[index] ?? '');
    if (share >= most)
      return `some processes waited for ${resource} ${Math.round(share)} % of the last minute`;
  }
  return undefined;
}

/** The larger of the averages over 10 and 60 seconds, so that pressure begins at once and ends late. */
function someShare(text: string): number {
  const [, ten = '0', sixty = '0'] = /^some avg10=([\d.]+) avg60=([\d.]+)/m.exec(text) ?? [];
  return Math.max(Number(ten), Number(sixty));
}

async function readQueue(host: Host): Promise<string | undefined> {
  const [load = '', stat = ''] = await Promise.all(
    ['/proc/loadavg', '/proc/stat'].map((path) => host.readText(path).catch(() => undefined)),
  );
  const processors = stat.match(/^cpu\d+ /gm)?.length ?? 0;
  const average = Number(load.split(' ')[0]);
  if (processors === 0 || !(average >= processors * QUEUE)) return undefined;
  return `${average} processes wanted to run on ${processors} processors`;
}
