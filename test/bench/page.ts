import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createFleetServer } from '../../controller/server.ts';
import { launchChromium } from '../chromium.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';
import { mebibytes, statistics } from './statistics.ts';

const NODES = 15_000;
const RUNS = 10;

/** Measures the page of a large fleet in a browser. */
export async function measurePage(): Promise<string[][]> {
  const view = sampleFleet(NODES);
  const server = createFleetServer({
    view: () => view,
    metrics: async () => ({ body: '', type: 'text/plain' }),
    live: () => true,
    ready: () => true,
    agentText: () => undefined,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const browser = await launchChromium();
  const shown: number[] = [];
  const filtered: number[] = [];
  let heap = 0;
  try {
    for (let run = 0; run < RUNS; run++) {
      const page = await browser.newPage();
      let begun = performance.now();
      await page.goto(`http://127.0.0.1:${port}/`);
      await page.locator('#groups details').first().waitFor();
      shown.push(performance.now() - begun);
      begun = performance.now();
      await page.locator('#by-name').fill('node-1499');
      await page.locator('#shown', { hasText: '11 of 15000' }).waitFor();
      filtered.push(performance.now() - begun);
      heap = Number(await page.evaluate('performance.memory.usedJSHeapSize'));
      await page.close();
    }
  } finally {
    await browser.close();
    server.close();
  }
  return [
    statistics(`page of ${NODES} nodes opened → nodes shown`, '', shown),
    statistics('a name typed → only its nodes shown', '', filtered),
    ["the page's heap after it", '', `${mebibytes(heap)} MiB`, '', ''],
  ];
}
