import type { TestContext } from 'node:test';
import type { Host } from '../../../lib/host/host.ts';

/** Advances a host's /proc/stat at each read, with CPUs that are idle for this share. */
export function mockCpuTimes(t: TestContext, host: Host, idlePercent: number): void {
  let ticks = 0;
  const readText = host.readText.bind(host);
  t.mock.method(host, 'readText', async (path: string, maxBytes?: number) => {
    if (path !== '/proc/stat') return readText(path, maxBytes);
    ticks += 100;
    const idle = (ticks * idlePercent) / 100;
    return `cpu  ${ticks - idle} 0 0 ${idle} 0 0 0 0 0 0\ncpu0 1 2\nintr 1\n`;
  });
}
