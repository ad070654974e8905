import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { onFailedStart } from '../../../agent/trigger/failed-start.ts';

const RUNS = Number.NEGATIVE_INFINITY;

describe('onFailedStart', () => {
  for (const [what, idleMs, evaluatesAfterMs, pushedAfterMs] of [
    ['at once after a rest', 10_000, undefined, 0],
    ['after a rest', 4_000, undefined, 6_001],
    ['nothing if an evaluation ends meanwhile', 4_000, 1_000, undefined],
    ['nothing beside a running evaluation', RUNS, undefined, undefined],
    ['nothing if the running evaluation ends', RUNS, 1_000, undefined],
  ] as const)
    it(`pushes ${what}`, (t) => {
      t.mock.timers.enable({ apis: ['setTimeout'] });
      let nowMs = 0;
      let endedMs = -idleMs;
      let pushedMs: number | undefined;
      const agent = {
        get idleMs() {
          return nowMs - endedMs;
        },
      };
      onFailedStart(agent, () => {
        pushedMs = nowMs;
      });
      while (nowMs < 30_000) {
        nowMs += 1;
        if (nowMs === evaluatesAfterMs) endedMs = nowMs;
        t.mock.timers.tick(1);
      }
      assert.equal(pushedMs, pushedAfterMs);
    });
});
