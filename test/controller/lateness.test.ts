import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Lateness } from '../../controller/lateness.ts';

it('Lateness is the worst of the last two minutes', () => {
  const lateness = new Lateness();
  const worst = [
    [300, 0],
    [2_500, 60_000],
    [0, 150_000],
    [100, 180_001],
  ].map(([lateMs = 0, nowMs = 0]) => {
    lateness.note(lateMs, nowMs);
    return lateness.worstMs;
  });
  assert.deepEqual(worst, [300, 2_500, 2_500, 100]);
});
