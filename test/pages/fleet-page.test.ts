import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { noteOf, rolloutOf } from '../../lib/fleet/rollout.ts';
import { INSTALLATIONS } from '../agent/sample-installations.ts';
import { burningFleet, fleetOfHandlers, mixedFleet, sampleFleet } from '../lib/fleet/sample-fleet.ts';
import { useFleetBrowser } from './browser.ts';

const namesOf = (page: Page) => page.locator('#groups tbody th').allTextContents();
/** The lines of the groups, without their rows. */
const groupsOf = async (page: Page) =>
  (await page.locator('#groups summary').allTextContents()).map((text) =>
    text.replaceAll(/\s+/g, ' ').trim(),
  );
const unfold = (page: Page, name: string) =>
  page.locator('#groups summary', { has: page.getByText(name, { exact: true }) }).click();

const FOCUS = `(() => {
  const { id, tagName, pathname } = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return { name: id || pathname || tagName, outline: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) };
})()`;

/** The focused element, by its id or link, and the width of its outline in pixels. */
async function readFocus(page: Page): Promise<{ readonly name: string; readonly outline: number }> {
  return (await page.evaluate(FOCUS)) as { name: string; outline: number };
}

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
    assert.equal(await page.locator('#rollout').textContent(), '');
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
      await used.locator('#rollout').textContent(),
      'Installer: release-20250203.0 on 2, at work on node-2, failed on node-1 (RunscNotExecutable)',
    );
    await used.getByLabel('Name').fill('node-1');
    const row = used.locator('#groups tbody tr', { hasText: 'node-1' }).filter({ hasText: 'failed' });
    assert.match((await row.textContent()) ?? '', /release-20260224\.0 failed: RunscNotExecutable/);
  });

  it('shows the headline, the alarms, and one line for each group, the most urgent first', async () => {
    const page = await open();
    assert.equal(await page.locator('h1').textContent(), '24 of 30 nodes that should run gVisor are proven');
    assert.match(await page.title(), /^24 of 30 nodes/);
    assert.deepEqual(await page.locator('#alarms code').allTextContents(), [
      'LabelWithoutAgent',
      'AgentsMissing',
      'SandboxesHang',
    ]);
    assert.deepEqual(await groupsOf(page), [
      '! LabelWithoutAgent 1 node labelled, but no agent is Ready node-0',
      '✗ ShimNotFound 3 nodes no "containerd-shim-runsc-v1" in /usr/bin node-3, node-13, node-23',
      '? NotVisible 3 nodes /etc/containerd <b>is</b> not mounted node-7, node-17, node-27',
      '? SandboxesHang 1 node sandboxes hang, or would not survive a restart node-9',
      '✓ SandboxProven 22 nodes a sandbox booted, and it was gVisor node-1, node-2, node-4, …',
    ]);
    assert.deepEqual(await namesOf(page), []);
    assert.deepEqual(state.complaints, []);
  });

  it('is one quiet screen for a healthy fleet of 300 nodes, of which 60 should run gVisor', async () => {
    state.view = mixedFleet();
    const page = await open();
    assert.equal(await page.locator('h1').textContent(), '60 of 60 nodes that should run gVisor are proven');
    assert.equal(await page.locator('#alarms li').count(), 0);
    const groups = await groupsOf(page);
    assert.equal(groups.length, 2);
    assert.match(groups[0] ?? '', /SandboxProven.*60 nodes, 1 cordoned/);
    assert.match(groups[1] ?? '', /NotExpected.*240 nodes, 1 NotReady/);
    assert.equal(await page.locator('#groups tbody tr').count(), 0);
    assert.ok(Number(await page.evaluate('document.documentElement.scrollHeight')) <= 900);
  });

  it('names the nodes where an additional handler is lost', async () => {
    state.view = fleetOfHandlers();
    const page = await open();
    assert.equal(await page.locator('h1').textContent(), '60 of 60 nodes that should run gVisor are proven');
    assert.deepEqual(await groupsOf(page), [
      '? HandlerNotProven 2 nodes an additional handler was proven here, and is not now sandbox-4, sandbox-12',
      '✓ SandboxProven 58 nodes, 1 cordoned a sandbox booted, and it was gVisor sandbox-1, sandbox-2, sandbox-3, …',
      '– NotExpected 240 nodes, 1 NotReady gVisor is not expected here general-1, general-2, general-3, …',
    ]);
    await page.getByLabel('Name').fill('sandbox-1');
    const rowOf = (name: string) =>
      page.locator('#groups tbody tr', { has: page.getByText(name, { exact: true }) }).textContent();
    assert.match((await rowOf('sandbox-12')) ?? '', /runsc-kvm is not proven any more/);
    assert.match((await rowOf('sandbox-18')) ?? '', /runsc-kvm is not proven/);
    assert.doesNotMatch((await rowOf('sandbox-1')) ?? '', /runsc-kvm/);
  });

  it('shows pods outside gVisor and faults of the controller in a burning fleet', async () => {
    state.view = burningFleet();
    const page = await open();
    const alarms = await page.locator('#alarms li').allTextContents();
    for (const text of [
      /GuardMissing gvisor-ready-agent has no binding that denies: /,
      /UnsandboxedPods 2 pods run outside gVisor .* sandbox-20/,
      /FleetCannotWrite .* 403 forbidden sandbox-9/,
      /TooManyLost .* The circuit breaker is open.* sandbox-1, sandbox-2, sandbox-3/,
      /AgentFlaps .* sandbox-10/,
    ])
      assert.ok(
        alarms.some((alarm) => text.test(alarm)),
        `${text} is not in ${alarms.join('\n')}`,
      );
    await unfold(page, 'NodeNotReady');
    assert.match((await page.locator('#groups tbody').allTextContents()).join(), /Node is NotReady/);
    assert.match((await groupsOf(page)).at(-1) ?? '', /NotExpected/);
  });

  it('shows markup in a message as text', async () => {
    const page = await open();
    assert.equal(await page.locator('#groups summary .meaning b').count(), 0);
    assert.match((await page.locator('#groups').textContent()) ?? '', /<b>is<\/b> not mounted/);
  });

  it('filters by name, and unfolds what is left', async () => {
    const page = await open();
    await page.getByLabel('Name').fill('node-1');
    assert.equal(await page.locator('#shown').textContent(), '11 of 30 nodes match, in 3 groups');
    await page.getByLabel('Name').fill('node-13');
    assert.deepEqual(await namesOf(page), ['node-13']);
    await page.getByLabel('Name').fill('');
    assert.deepEqual(await namesOf(page), []);
  });

  it('updates itself, and keeps the focus', async () => {
    const page = await open({ clock: true });
    await unfold(page, 'ShimNotFound');
    await page.getByRole('link', { name: 'node-3', exact: true }).focus();
    state.view = sampleFleet(40);
    await page.clock.runFor(5_000);
    await page.locator('h1', { hasText: '32 of 40 nodes' }).waitFor();
    assert.equal((await readFocus(page)).name, '/nodes/node-3/');
  });

  it('shows a lost connection to the controller until it is restored', async () => {
    const page = await open({ clock: true });
    const { port } = new URL(state.origin);
    await close();
    await page.clock.runFor(5_000);
    await page.locator('#live.stale', { hasText: 'The controller does not answer' }).waitFor();
    assert.equal((await groupsOf(page)).length, 5);
    await listen(Number(port));
    await page.clock.runFor(5_000);
    await page.locator('#live:not(.stale)').waitFor({ state: 'attached' });
  });

  for (const width of [320, 360, 768])
    it(`does not scroll sideways at ${width} px`, async () => {
      for (const view of [burningFleet(), fleetOfHandlers()]) {
        state.view = view;
        const page = await open({ viewport: { width, height: 740 } });
        await unfold(page, 'NotExpected');
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
      }
    });

  it('works with the keyboard alone', async () => {
    const page = await open();
    const reached: string[] = [];
    for (let press = 0; press < 6; press++) {
      await page.keyboard.press('Tab');
      const { name, outline } = await readFocus(page);
      assert.ok(outline >= 2, `${name} has no visible focus`);
      reached.push(name);
    }
    assert.deepEqual(reached.slice(0, 3), ['/fleet', '/metrics', 'by-name']);
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    assert.equal((await namesOf(page)).length, 3);
  });

  it('links to its data without JavaScript', async () => {
    const page = await open({ javaScriptEnabled: false });
    assert.equal(await page.locator('noscript a').getAttribute('href'), './fleet');
  });

  it('shows 200 of the rows of a group at first, more on request, and filters all rows', async () => {
    state.view = sampleFleet(5_000);
    const page = await open();
    await unfold(page, 'SandboxProven');
    const rows = page.locator('#groups tbody tr');
    await rows.nth(199).waitFor();
    assert.equal(await rows.count(), 200);
    await page.getByRole('button', { name: 'Show more nodes' }).press('Enter');
    assert.equal(await rows.count(), 400);
    await page.getByLabel('Name').fill('node-4999');
    assert.deepEqual(await namesOf(page), ['node-4999']);
    assert.equal(await page.getByRole('button', { name: 'Show more nodes' }).isVisible(), false);
  });
});
