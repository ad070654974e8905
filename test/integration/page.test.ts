import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Server } from 'node:http';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import type { Report } from '../../agent/report.ts';
import { createAgentServer } from '../../agent/server.ts';
import { BROKEN, HOSTILE, READY, UNSEEN } from '../agent/publish/sample-reports.ts';

const CHROMIUM = '/usr/bin/chromium';
const REPORTS = { ready: READY, broken: BROKEN, unseen: UNSEEN, hostile: HOSTILE, starting: undefined };

/** Texts whose contrast with what is painted behind them is under 4.5:1; colours are opaque on this page. */
const LOW_CONTRAST = `(() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('script')) continue;
    texts += 1;
    const pair = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) low.push(ratio.toFixed(2) + ' ' + walker.currentNode.data.trim());
  }
  return { low, texts };
})()`;

const OPEN_ALL = `document.querySelectorAll('details').forEach((details) => { details.open = true; })`;

/** What has the focus: its id or where it leads, and how wide the outline around it is. */
const FOCUS = `(() => {
  const { id, tagName, pathname } = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return { name: id || pathname || tagName, outline: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) };
})()`;

describe('the page in a browser', () => {
  let browser: Browser;
  let server: Server;
  let origin: string;
  let report: Report | undefined;
  let asked: string[];
  let complaints: string[];

  before(async () => {
    assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: apt-get install chromium`);
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
    args.push('--disable-background-networking', '--disable-component-update', '--disable-sync');
    browser = await chromium.launch({ executablePath: CHROMIUM, args });
    await listen(0);
  });

  after(async () => {
    await browser?.close();
    await close();
  });

  beforeEach(() => {
    report = READY;
    asked = [];
    complaints = [];
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  async function listen(port: number): Promise<void> {
    server = createAgentServer({
      metrics: async () => ({ body: 'gvisor_up 1\n', type: 'text/plain' }),
      report: () => report,
      live: () => true,
      unready: () => undefined,
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    origin = `http://127.0.0.1:${address.port}`;
  }

  async function close(): Promise<void> {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  async function open(options: BrowserContextOptions & { readonly clock?: boolean } = {}): Promise<Page> {
    const { clock = false, ...rest } = options;
    const context = await browser.newContext({ viewport: { width: 1120, height: 900 }, ...rest });
    const page = await context.newPage();
    page.on('request', (request) => asked.push(request.url()));
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('dialog', (dialog) => {
      complaints.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    if (clock) await page.clock.install();
    await page.goto(`${origin}/`);
    return page;
  }

  it('is sent with a policy that lets nothing in', async () => {
    const answer = await fetch(`${origin}/`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8');
    assert.match(answer.headers.get('content-security-policy') ?? '', /^default-src 'none'; /);
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    const head = await fetch(`${origin}/`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
  });

  it('runs nothing that its policy does not name', async () => {
    const page = await open();
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { text: 'pwned = 1' }))`,
    );
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.match(complaints.join(), /Content Security Policy/);
  });

  for (const [name, sample] of Object.entries(REPORTS)) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`is quiet, whole and readable: ${name}, ${colorScheme}`, async () => {
        report = sample;
        const page = await open({ colorScheme });
        await page.evaluate(OPEN_ALL);
        const { low, texts } = (await page.evaluate(LOW_CONTRAST)) as { low: string[]; texts: number };
        assert.deepEqual(low, []);
        assert.ok(texts > (sample === undefined ? 5 : 80), `only ${texts} texts`);
        assert.deepEqual(complaints, []);
        assert.deepEqual(
          asked.filter((url) => !url.startsWith('data:')),
          [`${origin}/`],
        );
      });
    }

    for (const width of [320, 360, 768]) {
      it(`does not scroll sideways at ${width} px: ${name}`, async () => {
        report = sample;
        const page = await open({ viewport: { width, height: 740 } });
        await page.evaluate(OPEN_ALL);
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
        const wide = await page.evaluate(`[...document.querySelectorAll('main *, header *, footer *')]
          .filter((element) => !element.closest('thead') && element.getBoundingClientRect().right > innerWidth)
          .map((element) => element.outerHTML.slice(0, 80))`);
        assert.deepEqual(wide, []);
      });
    }
  }

  it('differs in dark and in light', async () => {
    const background = 'getComputedStyle(document.body).backgroundColor';
    const light = await (await open({ colorScheme: 'light' })).evaluate(background);
    const dark = await (await open({ colorScheme: 'dark' })).evaluate(background);
    assert.notEqual(light, dark);
  });

  it('shows markup in what containerd says as text', async () => {
    report = HOSTILE;
    const page = await open();
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.equal(await page.locator('img, main script, main style, [onmouseover]').count(), 0);
    assert.ok(((await page.locator('.verdict').textContent()) ?? '').includes(HOSTILE.verdict.message));
    assert.ok((await page.title()).includes('</title></style></script>'));
  });

  it('is worked with the keyboard alone', async () => {
    const page = await open();
    const reached: { name: string; outline: number }[] = [];
    for (;;) {
      await page.keyboard.press('Tab');
      const focus = (await page.evaluate(FOCUS)) as { name: string; outline: number };
      if (focus.name === 'BODY' || reached.some(({ name }) => name === focus.name)) break;
      reached.push(focus);
      if (!focus.name.startsWith('open-')) continue;
      const evidence = page.locator(`details:has(#${focus.name}) > ul`);
      assert.equal(await evidence.isVisible(), false);
      await page.keyboard.press('Enter');
      await evidence.waitFor({ state: 'visible' });
      await page.keyboard.press('Space');
      await evidence.waitFor({ state: 'hidden' });
    }
    const withEvidence = READY.findings.filter(({ evidence = [] }) => evidence.length > 0);
    assert.deepEqual(
      reached.map(({ name }) => name),
      ['/report', '/metrics', '/livez', '/readyz', ...withEvidence.map(({ check }) => `open-${check}`)],
    );
    for (const { name, outline } of reached) assert.ok(outline >= 2, `${name} has no visible focus`);
  });

  it('leads to the report that machines read', async () => {
    const page = await open();
    await page.getByRole('link', { name: '/report' }).press('Enter');
    await page.waitForURL(`${origin}/report`);
    assert.equal(JSON.parse((await page.locator('body').textContent()) ?? '').node, READY.node);
  });

  it('keeps its table, landmarks and headings for screen readers, also on a phone', async () => {
    report = BROKEN;
    const page = await open({ viewport: { width: 360, height: 740 } });
    const session = await page.context().newCDPSession(page);
    await session.send('Accessibility.enable');
    const { nodes } = await session.send('Accessibility.getFullAXTree');
    const seen = nodes.filter(({ ignored }) => !ignored);
    const count = (role: string) => seen.filter((node) => node.role?.value === role).length;
    assert.equal(count('table'), 1);
    assert.equal(count('row'), BROKEN.findings.length + 1);
    assert.equal(count('columnheader'), 4);
    assert.equal(count('rowheader'), BROKEN.findings.length);
    for (const role of ['banner', 'navigation', 'main', 'contentinfo', 'status'])
      assert.equal(count(role), 1, role);
    const levels = seen
      .filter((node) => node.role?.value === 'heading')
      .map((node) => node.properties?.find(({ name }) => name === 'level')?.value.value as number);
    assert.deepEqual(levels, [1, 2, 2, 2, 2, 2]);
    assert.equal(await page.evaluate('document.documentElement.lang'), 'en');
  });

  it('works without JavaScript', async () => {
    report = BROKEN;
    const page = await open({ javaScriptEnabled: false });
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#open-shim').press('Enter');
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.equal(await page.locator('head meta[http-equiv=refresh]').count(), 1);
    assert.deepEqual(complaints, []);
  });

  it('shows a new verdict by itself, and leaves open what is open and the focus where it is', async () => {
    const page = await open({ clock: true });
    assert.equal(await page.locator('noscript meta, head > meta[http-equiv=refresh]').count(), 0);
    const icon = await page.locator('#icon').getAttribute('href');
    await page.locator('#open-shim').press('Enter');
    await page.clock.runFor(5_000);
    report = BROKEN;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.equal(((await page.evaluate(FOCUS)) as { name: string }).name, 'open-shim');
    assert.equal(await page.getByRole('status').textContent(), 'gVisor does not work here');
    assert.equal(await page.title(), '✗ node-1: gVisor does not work here');
    assert.notEqual(await page.locator('#icon').getAttribute('href'), icon);
    report = READY;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor works here' }).waitFor();
    assert.deepEqual(complaints, []);
    assert.deepEqual([...new Set(asked.filter((url) => !url.startsWith('data:')))], [`${origin}/`]);
  });

  it('touches nothing while nothing changes', async () => {
    const page = await open({ clock: true });
    await page.evaluate(`marked = document.querySelector('h1')`);
    const answered = page.waitForResponse(`${origin}/`);
    await page.clock.runFor(5_000);
    await (await answered).finished();
    const again = page.waitForRequest(`${origin}/`);
    await page.clock.runFor(5_000);
    await again;
    assert.equal(await page.evaluate('marked.isConnected'), true);
  });

  it('leaves the beginning by itself when the first look has ended', async () => {
    report = undefined;
    const page = await open({ clock: true });
    await page.getByText('the first look has not ended yet').waitFor();
    report = READY;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor works here' }).waitFor();
  });

  it('says when the agent does not answer any more, and when it does again', async () => {
    const page = await open({ clock: true });
    const { port } = new URL(origin);
    await close();
    await page.clock.runFor(5_000);
    await page.getByRole('status').filter({ hasText: 'The agent does not answer' }).waitFor();
    assert.equal(await page.title(), '! ✓ node-1: gVisor works here');
    const { low } = (await page.evaluate(LOW_CONTRAST)) as { low: string[] };
    assert.deepEqual(low, []);
    await listen(Number(port));
    await page.clock.runFor(5_000);
    await page.locator('#live:not(.stale)').waitFor({ state: 'attached' });
    assert.equal(await page.getByRole('status').textContent(), '');
    await page.waitForFunction(`document.title === '✓ node-1: gVisor works here'`);
  });
});
