import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { noteOf, rolloutOf } from '../../fleet/rollout.ts';
import { INSTALLATIONS } from '../agent/sample-installations.ts';
import { sampleFleet } from '../fleet/sample-fleet.ts';
import { useFleetBrowser } from './browser.ts';
import { readContrast, readFocus } from './contrast.ts';

const PAUSED = sampleFleet(30, {
  breaker: [{ reason: 'TooManyLost', meaning: 'More labelled nodes lost their agents at once.' }],
  paused: ['node-0'],
});

const namesOf = (page: Page) => page.locator('#nodes th').allTextContents();

describe('the page of the fleet in a browser', () => {
  const { state, open, listen, close } = useFleetBrowser();

  it('loads nothing from other origins, and blocks scripts outside its policy', async () => {
    const response = await fetch(`${state.origin}/`);
    assert.match(
      response.headers.get('content-security-policy') ?? '',
      /^default-src 'none'; style-src 'self'; /,
    );
    const page = await open();
    const script = `document.body.append(Object.assign(document.createElement('script'), { text: 'pwned = 1' }))`;
    await page.evaluate(script);
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.match(state.complaints.join(), /Content Security Policy/);
    const foreign = state.requested.filter(
      (url) => !url.startsWith(state.origin) && !url.startsWith('data:'),
    );
    assert.deepEqual(foreign, []);
  });

  it('shows the rollout of the installer, and nothing of it where it is not used', async () => {
    const page = await open();
    assert.equal(await page.locator('#releases dt', { hasText: 'installer' }).count(), 0);
    const { failed, atWork } = INSTALLATIONS;
    const nodes = sampleFleet(30).nodes.map((row) =>
      row.name === 'node-1' ? { ...row, installer: noteOf(failed) } : row,
    );
    const rollout = rolloutOf([
      ['node-1', failed],
      ['node-2', atWork],
    ]);
    state.view = sampleFleet(30, { nodes, ...(rollout && { rollout }) });
    const used = await open();
    assert.equal(
      await used.locator('#releases div', { hasText: 'installer' }).textContent(),
      'installerrelease-20250203.0 on 2, at work on node-2, failed on node-1 (RunscNotExecutable)',
    );
    const row = used.locator('#nodes tr', { hasText: 'node-1' }).filter({ hasText: 'failed' });
    assert.match((await row.textContent()) ?? '', /release-20260224\.0 failed: RunscNotExecutable/);
  });

  it('shows how many nodes are proven, and the most urgent nodes first', async () => {
    const page = await open();
    assert.equal(await page.locator('h1').textContent(), '24 of 30 nodes are proven');
    assert.match(await page.title(), /^24 of 30 nodes are proven/);
    const names = await namesOf(page);
    assert.deepEqual(names.slice(0, 8), [
      'node-0',
      'node-3',
      'node-13',
      'node-23',
      'node-7',
      'node-17',
      'node-27',
      'node-9',
    ]);
    const first = page.locator('#nodes tr').first();
    assert.match((await first.textContent()) ?? '', /labelled, but no agent is Ready/);
    assert.deepEqual(await page.locator('#notices li').allTextContents(), [
      'Labelled without a Ready agent: node-0',
      'Sandboxes hang, or would not survive a restart: node-9',
    ]);
    const hangs = page.locator('#nodes tr', { hasText: 'node-9' });
    assert.match((await hangs.textContent()) ?? '', /problems of sandboxes: 2do not restart containerd/);
    assert.deepEqual(state.complaints, []);
  });

  it('shows markup in a message as text', async () => {
    const page = await open();
    assert.equal(await page.locator('#nodes b').count(), 0);
    assert.match((await page.locator('#nodes').textContent()) ?? '', /<b>is<\/b> not mounted/);
  });

  it('shows an open circuit breaker with its reason and the paused nodes', async () => {
    state.view = PAUSED;
    const page = await open();
    const text = (await page.locator('#notices').textContent()) ?? '';
    assert.match(
      text,
      /The circuit breaker is open, so no label is withdrawn: TooManyLost .* Paused: node-0\./,
    );
  });

  it('filters by name, reason and labels', async () => {
    const page = await open();
    await page.getByLabel('Name').fill('node-1');
    assert.equal(await page.locator('#shown').textContent(), '11 of 30 nodes match, 11 are shown');
    await page.getByLabel('Reason').selectOption('ShimNotFound');
    assert.deepEqual(await namesOf(page), ['node-13']);
    await page.getByLabel('Name').fill('');
    assert.deepEqual(await namesOf(page), ['node-3', 'node-13', 'node-23']);
    await page.getByLabel('Reason').selectOption('');
    await page.getByLabel('Labels').fill('pool=p0');
    await page.getByLabel('Labels').press('Enter');
    await page.locator('#shown', { hasText: '15 of 15 nodes match' }).waitFor();
  });

  it('links each node to its own page', async () => {
    const page = await open();
    const link = page.getByRole('link', { name: 'node-13', exact: true });
    assert.equal(await link.getAttribute('href'), './nodes/node-13/');
  });

  it('updates itself, and keeps the focus', async () => {
    const page = await open({ clock: true });
    await page.getByRole('link', { name: 'node-3', exact: true }).focus();
    state.view = sampleFleet(40);
    await page.clock.runFor(5_000);
    await page.locator('h1', { hasText: '32 of 40 nodes are proven' }).waitFor();
    assert.equal((await readFocus(page)).name, '/nodes/node-3/');
  });

  it('shows a lost connection to the controller until it is restored', async () => {
    const page = await open({ clock: true });
    const { port } = new URL(state.origin);
    await close();
    await page.clock.runFor(5_000);
    await page.locator('#live.stale', { hasText: 'The controller does not answer' }).waitFor();
    assert.equal(await page.locator('#nodes tr').count(), 30);
    await listen(Number(port));
    await page.clock.runFor(5_000);
    await page.locator('#live:not(.stale)').waitFor({ state: 'attached' });
  });

  for (const colorScheme of ['light', 'dark'] as const)
    it(`has enough contrast: ${colorScheme}`, async () => {
      state.view = PAUSED;
      const page = await open({ colorScheme });
      const { low, texts } = await readContrast(page);
      assert.deepEqual(low, []);
      assert.ok(texts > 200, `only ${texts} texts`);
    });

  for (const width of [320, 360, 768])
    it(`does not scroll sideways at ${width} px`, async () => {
      const page = await open({ viewport: { width, height: 740 } });
      assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
    });

  it('keeps its table for screen readers on a phone', async () => {
    const page = await open({ viewport: { width: 360, height: 740 } });
    const session = await page.context().newCDPSession(page);
    await session.send('Accessibility.enable');
    const { nodes } = await session.send('Accessibility.getFullAXTree');
    const count = (role: string) => nodes.filter((node) => !node.ignored && node.role?.value === role).length;
    assert.deepEqual(
      ['table', 'row', 'columnheader', 'rowheader', 'main', 'search', 'banner'].map((role) => [
        role,
        count(role),
      ]),
      [
        ['table', 1],
        ['row', 31],
        ['columnheader', 8],
        ['rowheader', 30],
        ['main', 1],
        ['search', 1],
        ['banner', 1],
      ],
    );
  });

  it('works with the keyboard alone', async () => {
    const page = await open();
    const reached: string[] = [];
    for (let press = 0; press < 9; press++) {
      await page.keyboard.press('Tab');
      const { name, outline } = await readFocus(page);
      assert.ok(outline >= 2, `${name} has no visible focus`);
      reached.push(name);
    }
    const first = ['/fleet', '/metrics', 'by-name', 'by-reason', 'by-labels'];
    assert.deepEqual(reached.slice(0, 5), first);
    assert.deepEqual(reached.slice(5), [
      '/nodes/node-0/',
      '/nodes/node-3/',
      '/nodes/node-13/',
      '/nodes/node-23/',
    ]);
  });

  it('links to its data without JavaScript', async () => {
    const page = await open({ javaScriptEnabled: false });
    assert.equal(await page.locator('noscript a').getAttribute('href'), './fleet');
  });

  it('shows 200 of 5,000 rows at first, more on request, and filters all rows', async () => {
    state.view = sampleFleet(5_000);
    const page = await open();
    assert.equal(await page.locator('#nodes tr').count(), 200);
    await page.getByRole('button', { name: 'Show more nodes' }).press('Enter');
    assert.equal(await page.locator('#nodes tr').count(), 400);
    await page.getByLabel('Name').fill('node-4999');
    assert.deepEqual(await namesOf(page), ['node-4999']);
    assert.equal(await page.getByRole('button', { name: 'Show more nodes' }).isVisible(), false);
  });
});
