import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Housekeeping } from '../../../agent/proof/housekeeping.ts';

describe('Housekeeping', () => {
  it('knows no better moment than now before the kubelet has stopped a sandbox', () => {
    assert.equal(new Housekeeping(() => 123_456).waitMs, 0);
  });

  it('is quiet for a while after each look of the kubelet’s, two seconds apart', () => {
    let nowMs = 500;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed(100);
    for (const [laterMs, waitMs] of [
      [0, 150],
      [150, 0],
      [650, 0],
      [651, 1_499],
      [1_899, 251],
      [1_900, 250],
      [2_150, 0],
      [600_150, 0],
      [601_000, 1_150],
      [86_400_200, 0],
    ] as const) {
      nowMs = 500 + laterMs;
      assert.equal(housekeeping.waitMs, waitMs, `${laterMs} ms later`);
    }
  });

  it('learns anew when the kubelet was restarted', () => {
    let nowMs = 0;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed(500);
    nowMs = 3_000;
    assert.equal(housekeeping.waitMs, 750);
    housekeeping.noticed(500);
    assert.equal(housekeeping.waitMs, 0);
  });

  it('waits no longer than its signal lets it', async () => {
    let nowMs = 0;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed(500);
    nowMs = 1_790;
    await housekeeping.quiet(new AbortController().signal);
    nowMs = 1_000;
    await assert.rejects(housekeeping.quiet(AbortSignal.abort(new Error('stop'))), { code: 'ABORT_ERR' });
  });
});
