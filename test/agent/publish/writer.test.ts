import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WriteBackoff } from '../../../agent/publish/writer.ts';

describe('WriteBackoff', () => {
  it('allows a write at once, then doubles the pause up to five minutes', () => {
    const backoff = new WriteBackoff();
    const pauses: number[] = [];
    let now = 0;
    for (let time = 1; time <= 12; time++) {
      const waitMs = backoff.waitMs('a', now);
      pauses.push(waitMs / 1_000);
      now += waitMs;
      assert.equal(backoff.wrote('a', now), time);
    }
    assert.deepEqual(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
  });

  it('counts the time since the last write', () => {
    const backoff = new WriteBackoff();
    for (let time = 0; time < 5; time++) backoff.wrote('a', 0);
    assert.equal(backoff.waitMs('a', 10_000), 6_000);
    assert.equal(backoff.waitMs('a', 20_000), 0);
  });

  it('resets after 15 min without a write, and keeps keys apart', () => {
    const backoff = new WriteBackoff();
    backoff.wrote('a', 0);
    backoff.wrote('a', 0);
    assert.equal(backoff.waitMs('b', 0), 0);
    assert.equal(backoff.wrote('a', 900_000), 1);
  });
});
