import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createFleetServer } from '../../controller/server.ts';
import { REPO } from '../../hack/paths.ts';
import { launchChromium } from '../chromium.ts';
import { mixedFleet, SINCE } from '../lib/fleet/sample-fleet.ts';

export const PICTURE = 'fleet-desktop.png';

/** Pixels; the height is limited to keep the files small. */
const WIDTH = 1100;
const MAX_HEIGHT = 900;

/** A screenshot in docs/images. */
async function takePicture(): Promise<void> {
  const server = createFleetServer({
    view: mixedFleet,
    metrics: async () => ({ body: '', type: 'text/plain' }),
    live: () => true,
    ready: () => true,
    agentText: () => undefined,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const browser = await launchChromium();
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 400 } });
  await page.clock.install({ time: new Date(Date.parse(SINCE) + 240_000) });
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.locator('#groups details').first().waitFor();
  const height = await page.evaluate('document.documentElement.scrollHeight');
  const clip = { x: 0, y: 0, width: WIDTH, height: Math.min(Number(height), MAX_HEIGHT) };
  await page.screenshot({ path: join(REPO, 'docs/images', PICTURE), fullPage: true, clip });
  await browser.close();
  server.close();
}

if (import.meta.filename === process.argv[1]) await takePicture();
