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

  it('learns anew of a kubelet that was restarted, and does not go by the moments of the old one', () => {
    const housekeeping = new Housekeeping(() => 3_000);
    assert.equal(housekeeping.isLearnedOf('17'), false);
    housekeeping.learningOf('17');
    housekeeping.noticed(1_000);
    assert.equal(housekeeping.isLearnedOf('17'), true);
    assert.equal(housekeeping.waitMs, 1_250);
    assert.equal(housekeeping.isLearnedOf('99'), false);
    housekeeping.learningOf('99');
    assert.equal(housekeeping.isLearnedOf('99'), true);
    assert.equal(housekeeping.waitMs, 0);
  });

  it('starts a boot that takes longer sooner after a look, and never before 0.25 s', () => {
    let nowMs = 0;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.noticed(0);
    for (const [bootMs, latestMs] of [
      [500, 750],
      [1_050, 750],
      [1_300, 500],
      [1_550, 250],
    ] as const) {
      housekeeping.took(bootMs);
      nowMs = latestMs;
      assert.equal(housekeeping.waitMs, 0, `a boot of ${bootMs} ms`);
      nowMs = latestMs + 1;
      assert.equal(housekeeping.waitMs, 2_250 - nowMs, `a boot of ${bootMs} ms`);
    }
    housekeeping.took(5_000);
    nowMs = 250;
    assert.equal(housekeeping.waitMs, 0);
    nowMs = 251;
    assert.equal(housekeeping.waitMs, 1_999);
  });

  it('tells whether the kubelet may have looked between two moments, give or take 0.2 s', () => {
    const housekeeping = new Housekeeping(() => 10_000);
    assert.equal(housekeeping.lookedBetween(0, 9_000), false, 'nothing is known');
    housekeeping.noticed(0);
    for (const [fromMs, toMs, looked] of [
      [10_250, 11_750, false],
      [10_250, 11_800, true],
      [10_199, 10_300, true],
      [11_900, 12_100, true],
      [12_250, 13_700, false],
      [12_250, 16_700, true],
      [8_250, 9_750, false],
    ] as const)
      assert.equal(housekeeping.lookedBetween(fromMs, toMs), looked, `${fromMs} to ${toMs}`);
  });

  it('takes the moment of a proof that was stopped for a newer one', () => {
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
