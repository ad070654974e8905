import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WriteBackoff } from '../../../agent/node/writer.ts';

describe('Contest', () => {
  it('lets a key be written again at once, then after pauses that double up to five minutes', () => {
    const contest = new WriteBackoff();
    const pauses: number[] = [];
    let now = 0;
    for (let time = 1; time <= 12; time++) {
      pauses.push(contest.waitMs('a', now));
      now += contest.waitMs('a', now);
      assert.equal(contest.wrote('a', now), time);
    }
    assert.deepEqual(
      pauses.map((ms) => ms / 1_000),
      [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300],
    );
  });

  it('counts what has passed of a pause', () => {
    const contest = new WriteBackoff();
    for (let time = 0; time < 5; time++) contest.wrote('a', 0);
    assert.equal(contest.waitMs('a', 10_000), 6_000);
    assert.equal(contest.waitMs('a', 20_000), 0);
  });

  it('forgets a fight after a quarter of an hour of peace, and keeps keys apart', () => {
    const contest = new WriteBackoff();
    contest.wrote('a', 0);
    contest.wrote('a', 0);
    assert.equal(contest.waitMs('b', 0), 0);
    assert.equal(contest.wrote('a', 900_000), 1);
  });
});
