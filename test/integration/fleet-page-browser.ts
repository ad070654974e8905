import { after, afterEach, before, beforeEach } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { createFleetServer } from '../../fleet/server.ts';
import type { FleetView } from '../../fleet/view.ts';
import { launchChromium } from '../chromium.ts';
import { sampleFleet } from '../fleet/sample-fleet.ts';
import { openServer, type PageServer } from './page-server.ts';

/** What the page of the fleet shows, and what it did. */
type Shown = { origin: string; view: FleetView; asked: string[]; complaints: string[] };

/** For the head of a suite: a browser, and a fleet's server with a view that a test may change. */
export function useFleetPage() {
  let browser: Browser;
  let server: PageServer;
  const shown: Shown = { origin: '', view: sampleFleet(30), asked: [], complaints: [] };

  before(async () => {
    browser = await launchChromium();
    await listen(0);
  });
  after(async () => {
    await browser?.close();
    await close();
  });
  beforeEach(() => {
    shown.view = sampleFleet(30);
    shown.asked = [];
    shown.complaints = [];
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  async function listen(port: number): Promise<void> {
    const fleet = createFleetServer({
      view: () => shown.view,
      // The sample's labels follow from the number of a node.
      select: (matches) =>
        new Set(
          shown.view.nodes
            .map(({ name }) => name)
            .filter((name) => matches({ pool: `p${Number(name.split('-')[1]) % 2}` })),
        ),
      metrics: async () => ({ body: '', type: 'text/plain' }),
      live: () => true,
      ready: () => true,
      report: async () => shown.report,
    });
    server = await openServer(fleet, port);
    shown.origin = server.origin;
  }

  const close = () => server.close();

  async function open(options: BrowserContextOptions & { readonly clock?: boolean } = {}): Promise<Page> {
    const { clock = false, ...rest } = options;
    const context = await browser.newContext({ viewport: { width: 1120, height: 900 }, ...rest });
    const page = await context.newPage();
    page.on('request', (request) => shown.asked.push(request.url()));
    page.on('console', (message) => shown.complaints.push(message.text()));
    page.on('pageerror', (error) => shown.complaints.push(String(error)));
    if (clock) await page.clock.install();
    await page.goto(`${shown.origin}/`);
    if (rest.javaScriptEnabled !== false) await page.locator('#nodes tr').first().waitFor();
    return page;
  }

  return { shown, open, listen, close };
}
