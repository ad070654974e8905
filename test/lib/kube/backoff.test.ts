import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Backoff } from '../../../lib/kube/backoff.ts';
import { KubeError } from '../../../lib/kube/error.ts';

describe('Backoff', () => {
  const within = (ms: number, least: number, most: number) =>
    assert.ok(ms >= least && ms <= most, `${ms} is not from ${least} to ${most}`);

  it('doubles the pause up to the maximum, and starts over after a reset', () => {
    const backoff = new Backoff(1_000, 5_000);
    for (const [least, most] of [
      [500, 1_500],
      [1_000, 3_000],
      [2_000, 6_000],
      [2_500, 7_500],
      [2_500, 7_500],
    ] as const)
      within(backoff.next(new Error('refused')), least, most);
    backoff.reset();
    within(backoff.next(), 500, 1_500);
  });

  it('waits at least as long as Retry-After', () => {
    const backoff = new Backoff(1_000, 5_000);
    for (let time = 0; time < 20; time++)
      within(backoff.next(new KubeError('too many requests', 429, 8_000)), 8_000, 10_000);
  });

  it('doubles the pause also if Retry-After is short', () => {
    for (const retryAfterMs of [0, 1_000]) {
      const backoff = new Backoff(1_000, 120_000);
      const refused = new KubeError('too many requests', 429, retryAfterMs);
      for (let time = 0; time < 6; time++) backoff.next(refused);
      within(backoff.next(refused), 32_000, 96_000);
    }
  });
});
