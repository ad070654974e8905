import { after, afterEach, before, beforeEach } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { createAgentServer } from '../../agent/http/server.ts';
import type { Status } from '../../agent/report.ts';
import { READY } from '../agent/text/sample-reports.ts';
import { launchChromium } from '../chromium.ts';
import { openServer, type PageServer } from './page-server.ts';

/** What the pages of a test show, and what they did. */
type Shown = {
  /** Where the agent's server listens, as "http://127.0.0.1:…". */
  origin: string;
  /** What the agent knows: undefined until its first look has ended. */
  report: Status | undefined;
  /** The URLs that were asked for. */
  asked: string[];
  /** What was logged, thrown, or asked in a dialog. */
  complaints: string[];
};

/**
 * For the head of a suite: a browser, and an agent's server with a report that a test may change, {@link READY} at its
 * beginning. Gives functions that open a page of it, and that let the server listen on a port (0 for any) or close it.
 */
export function usePage() {
  let browser: Browser;
  let server: PageServer;
  const shown: Shown = { origin: '', report: READY, asked: [], complaints: [] };

  before(async () => {
    browser = await launchChromium();
    await listen(0);
  });

  after(async () => {
    await browser?.close();
    await close();
  });

  beforeEach(() => {
    shown.report = READY;
    shown.asked = [];
    shown.complaints = [];
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  async function listen(port: number): Promise<void> {
    const agent = createAgentServer({
      metrics: async () => ({ body: 'gvisor_up 1\n', type: 'text/plain' }),
      report: () => shown.report,
      live: () => true,
      unready: () => undefined,
    });
    server = await openServer(agent, port);
    shown.origin = server.origin;
  }

  const close = () => server.close();

  async function open(
    options: BrowserContextOptions & { readonly clock?: boolean | Date } = {},
  ): Promise<Page> {
    const { clock = false, ...rest } = options;
    const context = await browser.newContext({ viewport: { width: 1120, height: 900 }, ...rest });
    const page = await context.newPage();
    page.on('request', (request) => shown.asked.push(request.url()));
    page.on('console', (message) => shown.complaints.push(message.text()));
    page.on('pageerror', (error) => shown.complaints.push(String(error)));
    page.on('dialog', (dialog) => {
      shown.complaints.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    if (clock !== false) await page.clock.install(clock === true ? {} : { time: clock });
    await page.goto(`${shown.origin}/`);
    return page;
  }

  return { shown, open, listen, close };
}
