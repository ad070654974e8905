import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FINDINGS } from '../agent/text/sample-findings.ts';
import { BROKEN, HOSTILE, READY } from '../agent/text/sample-reports.ts';
import { EXPLAINED, SAMPLES } from '../agent/text/sample-status.ts';
import { usePage } from './page-browser.ts';
import { openAll, readContrast, readFocus } from './page-probes.ts';

const REPORTS = { ...SAMPLES, explained: EXPLAINED, broken: BROKEN, hostile: HOSTILE, starting: undefined };

describe('the page in a browser', () => {
  const { shown, open } = usePage();

  it('is sent with a policy that lets nothing in', async () => {
    const answer = await fetch(`${shown.origin}/`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8');
    assert.match(answer.headers.get('content-security-policy') ?? '', /^default-src 'none'; /);
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    const head = await fetch(`${shown.origin}/`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
  });

  it('runs nothing that its policy does not name', async () => {
    const page = await open();
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { text: 'pwned = 1' }))`,
    );
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.match(shown.complaints.join(), /Content Security Policy/);
  });

  for (const [name, sample] of Object.entries(REPORTS)) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`is quiet, whole and readable: ${name}, ${colorScheme}`, async () => {
        shown.report = sample;
        const page = await open({ colorScheme });
        await openAll(page);
        const { low, texts } = await readContrast(page);
        assert.deepEqual(low, []);
        assert.ok(texts > (sample === undefined ? 5 : 80), `only ${texts} texts`);
        assert.deepEqual(shown.complaints, []);
        assert.deepEqual(
          shown.asked.filter((url) => !url.startsWith('data:')),
          [`${shown.origin}/`],
        );
      });
    }

    for (const width of [320, 360, 768]) {
      it(`does not scroll sideways at ${width} px: ${name}`, async () => {
        shown.report = sample;
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

  it('differs in dark and in light', async () => {
    const background = 'getComputedStyle(document.body).backgroundColor';
    const light = await (await open({ colorScheme: 'light' })).evaluate(background);
    const dark = await (await open({ colorScheme: 'dark' })).evaluate(background);
    assert.notEqual(light, dark);
  });

  it('shows markup in what containerd says as text', async () => {
    shown.report = HOSTILE;
    const page = await open();
    assert.equal(await page.evaluate('typeof pwned'), 'undefined');
    assert.equal(await page.locator('img, main script, main style, [onmouseover]').count(), 0);
    assert.ok(((await page.locator('.verdict').textContent()) ?? '').includes(HOSTILE.verdict.message));
    assert.equal(await page.locator('a:not([href^="./"])').count(), 0);
    assert.ok((await page.title()).includes('</title></style></script>'));
  });

  it('is worked with the keyboard alone', async () => {
    shown.report = EXPLAINED;
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
        ...['/reasons', '/report', '/metrics', '/livez', '/readyz'],
        ...['reason', 'step-RunscNotFound', 'step-RestartPending', 'open-others', 'proof-reason'],
        ...['reason-runsc', 'open-runsc', 'reason-handler-current', 'open-handler-current'],
        ...FINDINGS.flatMap(({ check, evidence = [] }) =>
          evidence.length === 0 || check === 'runsc' ? [] : [`open-${check}`],
        ),
        ...[0, 1, 2, 3].map((index) => `past-reason-${index}`),
      ],
    );
    for (const { name, outline } of reached) assert.ok(outline >= 2, `${name} has no visible focus`);
  });

  it('leads from a reason to what it means, and back', async () => {
    shown.report = EXPLAINED;
    const page = await open();
    await page.locator('#reason').press('Enter');
    await page.waitForURL(`${shown.origin}/reasons#RunscNotFound`);
    await page.locator('#RunscNotFound:target').getByText('Install runsc in a directory').waitFor();
    assert.deepEqual((await readContrast(page)).low, []);
    await page.getByRole('link', { name: 'Back to this node' }).press('Enter');
    await page.waitForURL(`${shown.origin}/`);
    assert.deepEqual(shown.complaints, []);
  });

  it('leads to the report that machines read', async () => {
    const page = await open();
    await page.getByRole('link', { name: '/report' }).press('Enter');
    await page.waitForURL(`${shown.origin}/report`);
    assert.equal(JSON.parse((await page.locator('body').textContent()) ?? '').node, READY.node);
  });

  it('keeps its table, landmarks and headings for screen readers, also on a phone', async () => {
    shown.report = BROKEN;
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
    assert.deepEqual(levels, [1, 2, 2, 2, 2, 2, 2, 2]);
    assert.equal(await page.evaluate('document.documentElement.lang'), 'en');
  });

  it('works without JavaScript', async () => {
    shown.report = BROKEN;
    const page = await open({ javaScriptEnabled: false });
    await page.getByRole('heading', { level: 1, name: 'gVisor does not work here' }).waitFor();
    await page.locator('#open-shim').press('Enter');
    await page.locator('#evidence-shim > ul').waitFor({ state: 'visible' });
    assert.equal(await page.locator('head meta[http-equiv=refresh]').count(), 1);
    assert.deepEqual(shown.complaints, []);
  });
});
