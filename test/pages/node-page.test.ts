import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Status } from '../../lib/report/report.ts';
import { FINDINGS } from '../agent/text/sample-findings.ts';
import { BROKEN, HEALTHY, HOSTILE } from '../agent/text/sample-reports.ts';
import { EXPLAINED, SAMPLES } from '../agent/text/sample-status.ts';
import { sandboxesOf } from '../kubectl/fleet-objects.ts';
import { HOSTILE_HANDLERS, KVM_BROKEN, KVM_PROVEN } from '../lib/fleet/sample-handlers.ts';
import { useFleetBrowser } from './browser.ts';
import { openAll, readFocus } from './focus.ts';

/** The controller refuses a report for another node, so its name is the one text that cannot be hostile. */
const [hostile] = sandboxesOf(['x', 'ShimLingers']).problems;
const HOSTILE_REPORT = {
  ...HOSTILE,
  node: 'node-1',
  handlers: HOSTILE_HANDLERS,
  sandboxes: {
    ...sandboxesOf(),
    at: HOSTILE.verdict.message,
    problems: [HOSTILE.verdict.message, HOSTILE.proof.message].map((message) => ({
      ...hostile,
      reason: message,
      message,
      sandbox: 'x'.repeat(128),
      pids: Array(64).fill(Number.MAX_SAFE_INTEGER),
      since: message,
    })),
    total: Number.MAX_SAFE_INTEGER,
    restart: { state: 'unsafe', because: [HOSTILE.verdict.message, HOSTILE.proof.message] },
  },
} as unknown as Status;
const HANGS = sandboxesOf(['x', 'ShimUnresponsive'], ['y', 'ShimLingers'], ['z', 'RuntimeCommandHangs']);
const REPORTS = {
  ...SAMPLES,
  proven: { ...SAMPLES.proven, sandboxes: sandboxesOf() },
  explained: { ...EXPLAINED, sandboxes: HANGS },
  broken: BROKEN,
  handlers: { ...HEALTHY, handlers: [KVM_PROVEN, { ...KVM_BROKEN, handler: 'runsc-nested' }] },
  hostile: HOSTILE_REPORT,
  starting: undefined,
};
const PATH = '/nodes/node-1/';

describe('the page of a node in a browser', () => {
  const browser = useFleetBrowser();
  const { state, listen, close } = browser;
  const open: typeof browser.open = (options) => browser.open({ path: PATH, ...options });

  for (const [name, sample] of Object.entries(REPORTS)) {
    it(`has no console messages, and loads nothing from elsewhere: ${name}`, async () => {
      state.report = sample;
      await openAll(await open());
      assert.deepEqual(state.complaints, []);
      assert.deepEqual(
        state.requested.filter((url) => !url.startsWith('data:') && !url.startsWith(state.origin)),
        [],
      );
    });

    for (const width of [320, 375, 768]) {
      it(`does not scroll sideways at ${width} px: ${name}`, async () => {
        state.report = sample;
        const page = await open({ viewport: { width, height: 740 } });
        await openAll(page);
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
        const wide = await page.evaluate(`[...document.querySelectorAll('main *, header *, footer *')]
          .filter((element) => !element.closest('thead') && element.getBoundingClientRect().right > innerWidth)
          .map((element) => element.outerHTML.slice(0, 80))`);
        assert.deepEqual(wide, []);
      });
    }
  }

  it('shows markup in a report as text', async () => {
    state.report = HOSTILE_REPORT;
    const page = await open();
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.equal(await page.locator('img, main script, main style, [onmouseover]').count(), 0);
    assert.ok(((await page.locator('.verdict').textContent()) ?? '').includes(HOSTILE.verdict.message));
    assert.equal(await page.locator('a:not([href="../../"])').count(), 0);
  });

  it('works with the keyboard alone', async () => {
    state.report = EXPLAINED;
    const page = await open();
    const reached: { name: string; outline: number }[] = [];
    for (;;) {
      await page.keyboard.press('Tab');
      const focus = await readFocus(page);
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
    assert.deepEqual(
      reached.map(({ name }) => name),
      [
        '/',
        'open-runsc',
        'open-handler-current',
        ...FINDINGS.flatMap(({ check, evidence = [] }) =>
          evidence.length === 0 || check === 'runsc' ? [] : [`open-${check}`],
        ),
      ],
    );
    for (const { name, outline } of reached) assert.ok(outline >= 2, `${name} has no visible focus`);
  });

  it('keeps its table, landmarks and headings for screen readers on a phone', async () => {
    state.report = BROKEN;
    const page = await open({ viewport: { width: 360, height: 740 } });
    const session = await page.context().newCDPSession(page);
    await session.send('Accessibility.enable');
    const { nodes } = await session.send('Accessibility.getFullAXTree');
    const visible = nodes.filter(({ ignored }) => !ignored);
    const count = (role: string) => visible.filter((node) => node.role?.value === role).length;
    assert.equal(count('table'), 1);
    assert.equal(count('row'), BROKEN.findings.length + 1);
    assert.equal(count('columnheader'), 4);
    assert.equal(count('rowheader'), BROKEN.findings.length);
    for (const role of ['banner', 'navigation', 'main', 'contentinfo', 'status'])
      assert.equal(count(role), 1, role);
    const levels = visible
      .filter((node) => node.role?.value === 'heading')
      .map((node) => node.properties?.find(({ name }) => name === 'level')?.value.value as number);
    assert.deepEqual(levels, [1, 2, 2, 2, 2, 2, 2, 2, 2]);
    assert.equal(await page.evaluate('document.documentElement.lang'), 'en');
  });

  it('works without JavaScript', async () => {
    state.report = BROKEN;
    const page = await open({ javaScriptEnabled: false });
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#open-shim').press('Enter');
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.deepEqual(state.complaints, []);
  });

  it('updates itself, and keeps open details and the focus', async () => {
    const page = await open({ clock: true });
    const icon = await page.locator('#icon').getAttribute('href');
    await page.locator('#open-shim').press('Enter');
    await page.clock.runFor(5_000);
    state.report = BROKEN;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.equal((await readFocus(page)).name, 'open-shim');
    assert.equal(await page.getByRole('status').textContent(), 'gVisor does not work here');
    assert.equal(await page.title(), '✗ node-1: gVisor does not work here');
    assert.notEqual(await page.locator('#icon').getAttribute('href'), icon);
    assert.deepEqual(state.complaints, []);
  });

  it('replaces the start page after the first evaluation', async () => {
    state.report = undefined;
    const page = await open({ clock: true });
    await page.getByText('its first evaluation has not ended yet').waitFor();
    state.report = HEALTHY;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor works here' }).waitFor();
  });

  it('shows the age of the verdict, and keeps it current', async () => {
    const page = await open({ clock: new Date('2026-11-24T11:41:00Z') });
    assert.equal(await page.locator('.since .age').textContent(), ', 1 hour ago');
    await page.clock.runFor(60_000);
    await page.locator('.since .age', { hasText: ', 2 hours ago' }).waitFor();
  });

  it('does not change the document while the report is unchanged', async () => {
    const page = await open({ clock: true });
    await page.evaluate(`marked = document.querySelector('h1')`);
    const responded = page.waitForResponse(`${state.origin}${PATH}`);
    await page.clock.runFor(5_000);
    await (await responded).finished();
    const again = page.waitForRequest(`${state.origin}${PATH}`);
    await page.clock.runFor(5_000);
    await again;
    assert.equal(await page.evaluate('marked.isConnected'), true);
  });

  it('shows a lost connection to the server until it is restored', async () => {
    const page = await open({ clock: true });
    const { port } = new URL(state.origin);
    await close();
    await page.clock.runFor(5_000);
    await page.getByRole('status').filter({ hasText: 'The agent does not answer' }).waitFor();
    assert.equal(await page.title(), '! ✓ node-1: gVisor works here');
    await listen(Number(port));
    await page.clock.runFor(5_000);
    await page.locator('#live:not(.stale)').waitFor({ state: 'attached' });
    await page.waitForFunction(`document.title === '✓ node-1: gVisor works here'`);
  });
});
