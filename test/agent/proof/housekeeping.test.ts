import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Housekeeping } from '../../../agent/proof/housekeeping.ts';

describe('Housekeeping', () => {
  it('knows no better moment than now before the kubelet has stopped a sandbox', () => {
    assert.equal(new Housekeeping(() => 123_456).waitMs, 0);
  });

  it('is quiet around each multiple of two seconds after a sandbox was stopped', () => {
    let nowMs = 500;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed();
    for (const [laterMs, waitMs] of [
      [0, 0],
      [300, 0],
      [301, 1_499],
      [1_000, 800],
      [1_799, 1],
      [1_800, 0],
      [2_000, 0],
      [600_000, 0],
      [600_300, 0],
      [601_000, 800],
      [86_400_000, 0],
    ] as const) {
      nowMs = 500 + laterMs;
      assert.equal(housekeeping.waitMs, waitMs, `${laterMs} ms later`);
    }
  });

  it('learns anew when the kubelet was restarted', () => {
    let nowMs = 0;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed();
    nowMs = 3_000;
    assert.equal(housekeeping.waitMs, 800);
    housekeeping.noticed();
    assert.equal(housekeeping.waitMs, 0);
  });

  it('waits no longer than its signal lets it', async () => {
    let nowMs = 0;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed();
    nowMs = 1_790;
    await housekeeping.quiet(new AbortController().signal);
    nowMs = 1_000;
    await assert.rejects(housekeeping.quiet(AbortSignal.abort(new Error('stop'))), { code: 'ABORT_ERR' });
  });
});
