import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BROKEN, READY } from '../agent/text/sample-reports.ts';
import { usePage } from './page-browser.ts';
import { readContrast, readFocus } from './page-probes.ts';

describe('the page in a browser', () => {
  const { shown, open, listen, close } = usePage();

  it('shows a new verdict by itself, and leaves open what is open and the focus where it is', async () => {
    const page = await open({ clock: true });
    assert.equal(await page.locator('noscript meta, head > meta[http-equiv=refresh]').count(), 0);
    const icon = await page.locator('#icon').getAttribute('href');
    await page.locator('#open-shim').press('Enter');
    await page.clock.runFor(5_000);
    shown.report = BROKEN;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.equal((await readFocus(page)).name, 'open-shim');
    assert.equal(await page.getByRole('status').textContent(), 'gVisor does not work here');
    assert.equal(await page.title(), '✗ node-1: gVisor does not work here');
    assert.notEqual(await page.locator('#icon').getAttribute('href'), icon);
    shown.report = READY;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor works here' }).waitFor();
    assert.deepEqual(shown.complaints, []);
    assert.deepEqual(
      [...new Set(shown.asked.filter((url) => !url.startsWith('data:')))],
      [`${shown.origin}/`],
    );
  });

  it('says how long ago the verdict came, and counts on', async () => {
    shown.report = READY;
    const page = await open({ clock: new Date('2026-11-24T11:41:00Z') });
    const age = page.locator('.since .age');
    assert.equal(await age.textContent(), ', 1 hour ago');
    await page.clock.runFor(60_000);
    await page.locator('.since .age', { hasText: ', 2 hours ago' }).waitFor();
  });

  it('touches nothing while nothing changes', async () => {
    const page = await open({ clock: true });
    await page.evaluate(`marked = document.querySelector('h1')`);
    const answered = page.waitForResponse(`${shown.origin}/`);
    await page.clock.runFor(5_000);
    await (await answered).finished();
    const again = page.waitForRequest(`${shown.origin}/`);
    await page.clock.runFor(5_000);
    await again;
    assert.equal(await page.evaluate('marked.isConnected'), true);
  });

  it('leaves the beginning by itself when the first look has ended', async () => {
    shown.report = undefined;
    const page = await open({ clock: true });
    await page.getByText('the first look has not ended yet').waitFor();
    shown.report = READY;
    await page.clock.runFor(5_000);
    await page.getByRole('heading', { level: 1, name: 'gVisor works here' }).waitFor();
  });

  it('says when the agent does not answer any more, and when it does again', async () => {
    const page = await open({ clock: true });
    const { port } = new URL(shown.origin);
    await close();
    await page.clock.runFor(5_000);
    await page.getByRole('status').filter({ hasText: 'The agent does not answer' }).waitFor();
    assert.equal(await page.title(), '! ✓ node-1: gVisor works here');
    const { low } = await readContrast(page);
    assert.deepEqual(low, []);
    await listen(Number(port));
    await page.clock.runFor(5_000);
    await page.locator('#live:not(.stale)').waitFor({ state: 'attached' });
    assert.equal(await page.getByRole('status').textContent(), '');
    await page.waitForFunction(`document.title === '✓ node-1: gVisor works here'`);
  });
});
