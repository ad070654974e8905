import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { after, afterEach, before, beforeEach } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { createFleetServer } from '../../controller/server.ts';
import type { FleetView } from '../../lib/fleet/view.ts';
import { launchChromium } from '../chromium.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';

type BrowserState = {
  origin: string;
  view: FleetView;
  /** The text of every agent. */
  agentText: string;
  /** The URLs that the browser requested. */
  requested: string[];
  /** Console messages, uncaught errors and dialogs. */
  complaints: string[];
};

type OpenOptions = BrowserContextOptions & { readonly path?: string; readonly clock?: boolean | Date };

/** Starts a browser and a fleet server for a suite, with a view and a text that tests may change. */
export function useFleetBrowser() {
  let browser: Browser;
  let server: Server;
  const sockets = new Set<Socket>();
  const state: BrowserState = {
    origin: '',
    view: sampleFleet(30),
    agentText: '',
    requested: [],
    complaints: [],
  };

  before(async () => {
    browser = await launchChromium();
    await listen(0);
  });
  after(async () => {
    await browser?.close();
    await close();
  });
  beforeEach(() => {
    Object.assign(state, { view: sampleFleet(30), agentText: '', requested: [], complaints: [] });
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  async function listen(port: number): Promise<void> {
    server = createFleetServer({
      view: () => state.view,
      metrics: async () => ({ body: '', type: 'text/plain' }),
      live: () => true,
      ready: () => true,
      agentText: async () => state.agentText,
    });
    server.on('connection', (socket: Socket) => sockets.add(socket));
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    state.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** Closes the server, and the connections that the browser opened ahead. */
  async function close(): Promise<void> {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }

  async function open({ path = '/', clock = false, ...options }: OpenOptions = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1120, height: 900 }, ...options });
    const page = await context.newPage();
    page.on('request', (request) => state.requested.push(request.url()));
    page.on('console', (message) => state.complaints.push(message.text()));
    page.on('pageerror', (error) => state.complaints.push(String(error)));
    page.on('dialog', (dialog) => {
      state.complaints.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    if (clock !== false) await page.clock.install(clock === true ? {} : { time: clock });
    await page.goto(`${state.origin}${path}`);
    if (path === '/' && options.javaScriptEnabled !== false)
      await page.locator('#groups details').first().waitFor();
    return page;
  }

  return { state, open, listen, close };
}
