import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createFleetServer } from '../../controller/server.ts';
import { REPO } from '../../hack/paths.ts';
import { SAMPLES } from '../agent/text/sample-status.ts';
import { launchChromium } from '../chromium.ts';
import { mixedFleet, SINCE } from '../lib/fleet/sample-fleet.ts';

/** A recorded report of a real agent (test/pictures/record-reports.ts). */
const REPORT = SAMPLES.failing;

/** Screenshots in docs/images by file name: the page's path, and when it is read. */
export const PICTURES = {
  'fleet-desktop.png': { path: '', at: SINCE },
  'page-desktop.png': { path: 'nodes/node-1/', at: REPORT.evaluation.at },
} as const;

/** Pixels; the height is limited to keep the files small. */
const WIDTH = 1100;
const MAX_HEIGHT = 900;

async function takeAll(): Promise<void> {
  const server = createFleetServer({
    view: mixedFleet,
    metrics: async () => ({ body: '', type: 'text/plain' }),
    live: () => true,
    ready: () => true,
    report: async () => REPORT,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const browser = await launchChromium();
  for (const [name, { path, at }] of Object.entries(PICTURES)) {
    const page = await browser.newPage({ viewport: { width: WIDTH, height: 400 } });
    await page.clock.install({ time: new Date(Date.parse(at) + 240_000) });
    await page.goto(`http://127.0.0.1:${port}/${path}`);
    if (path === '') await page.locator('#groups details').first().waitFor();
    const height = await page.evaluate('document.documentElement.scrollHeight');
    const clip = { x: 0, y: 0, width: WIDTH, height: Math.min(Number(height), MAX_HEIGHT) };
    await page.screenshot({ path: join(REPO, 'docs/images', name), fullPage: true, clip });
    await page.close();
  }
  await browser.close();
  server.close();
}

if (import.meta.filename === process.argv[1]) await takeAll();
