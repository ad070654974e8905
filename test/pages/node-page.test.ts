import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderReport } from '../../agent/text/terminal.ts';
import { HOSTILE } from '../agent/text/sample-reports.ts';
import { EXPLAINED } from '../agent/text/sample-status.ts';
import { HOSTILE_HANDLERS } from '../lib/fleet/sample-handlers.ts';
import { useFleetBrowser } from './browser.ts';

const SCREEN = { colored: false, width: 100 };

describe('the page of a node in a browser', () => {
  const { state, open } = useFleetBrowser();

  it('loads itself again under its policy, and shows hostile texts as text, without scrolling sideways', async () => {
    state.agentText = renderReport(EXPLAINED, SCREEN);
    const page = await open({ path: '/nodes/node-1/', viewport: { width: 320, height: 740 } });
    const shown = page.locator('pre');
    assert.equal(await shown.textContent(), state.agentText.slice(1)); // a parser drops the first newline
    const hostile = renderReport({ ...HOSTILE, handlers: HOSTILE_HANDLERS }, SCREEN);
    state.agentText = hostile;
    await shown.getByText('<script>alert(1)</script>').waitFor();
    assert.equal(await shown.textContent(), hostile.slice(1));
    assert.equal(await page.locator('pre *, script').count(), 0);
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 320);
    assert.deepEqual(state.complaints, []);
    const own = [`${state.origin}/`, 'data:'];
    assert.deepEqual(
      state.requested.filter((url) => !own.some((start) => url.startsWith(start))),
      [],
    );
  });
});
