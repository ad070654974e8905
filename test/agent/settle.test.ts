import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyHysteresis, type HysteresisResult, type HysteresisState } from '../../agent/hysteresis.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { verdictOf } from './reports.ts';

const PATIENCE = { confirmMs: 500, graceMs: 60_000 };
const READY = verdictOf('True', 'SandboxProven');
const BROKEN = verdictOf('False', 'ShimNotFound');
const OTHERWISE = verdictOf('False', 'RunscNotFound');
const UNEXPLAINED = verdictOf('False', 'SandboxFailed');
const UNSEEN = verdictOf('Unknown', 'ContainerdUnreachable');

const TABLE: readonly [string, HysteresisState, Verdict, number, HysteresisResult][] = [
  ['the first look proves', {}, READY, 0, { state: { published: READY }, publish: READY }],
  ['the first look fails', {}, BROKEN, 100, { state: { failingSince: 100 }, requeueAfterMs: 500 }],
  ['the first look cannot see', {}, UNSEEN, 100, { state: { unknownSince: 100 }, requeueAfterMs: 5_000 }],
  ['ready stays ready', { published: READY }, READY, 9, { state: { published: READY }, publish: READY }],
  [
    'ready fails once',
    { published: READY },
    BROKEN,
    100,
    { state: { published: READY, failingSince: 100 }, requeueAfterMs: 500 },
  ],
  [
    'ready fails again too early',
    { published: READY, failingSince: 100 },
    BROKEN,
    599,
    { state: { published: READY, failingSince: 100 }, requeueAfterMs: 1 },
  ],
  [
    'ready fails again in time',
    { published: READY, failingSince: 100 },
    BROKEN,
    600,
    { state: { published: BROKEN }, publish: BROKEN },
  ],
  [
    'a failure that nothing explains is looked at again soon',
    { published: READY },
    UNEXPLAINED,
    100,
    { state: { published: READY, failingSince: 100 }, requeueAfterMs: 5_000 },
  ],
  [
    'and counts once it has lasted for 30 s',
    { published: READY, failingSince: 100 },
    UNEXPLAINED,
    30_099,
    { state: { published: READY, failingSince: 100 }, requeueAfterMs: 1 },
  ],
  [
    'then it is published',
    { published: READY, failingSince: 100 },
    UNEXPLAINED,
    30_100,
    { state: { published: UNEXPLAINED }, publish: UNEXPLAINED },
  ],
  [
    'a node that starts no sandbox at all wipes the failure out',
    { published: READY, failingSince: 100 },
    verdictOf('Unknown', 'NodeExhausted'),
    5_000,
    { state: { published: READY, unknownSince: 5_000 }, requeueAfterMs: 5_000 },
  ],
  [
    'another reason confirms as well, and is the one published',
    { published: READY, failingSince: 100 },
    OTHERWISE,
    600,
    { state: { published: OTHERWISE }, publish: OTHERWISE },
  ],
  [
    'a failure long after one, between which nothing could be seen, is a first one again',
    { published: READY, failingSince: 100, toleratedSince: 5_000 },
    OTHERWISE,
    1_200_101,
    { state: { published: READY, failingSince: 1_200_101, toleratedSince: 5_000 }, requeueAfterMs: 500 },
  ],
  [
    'a failure that slow looks follow for a while is confirmed by the next',
    { published: READY, failingSince: 100, toleratedSince: 5_000 },
    OTHERWISE,
    1_200_100,
    { state: { published: OTHERWISE }, publish: OTHERWISE },
  ],
  [
    'a proof wipes a failure out',
    { published: READY, failingSince: 100 },
    READY,
    600,
    { state: { published: READY }, publish: READY },
  ],
  [
    'a look that cannot see leaves a failure unconfirmed',
    { published: READY, failingSince: 100 },
    UNSEEN,
    600,
    { state: { published: READY, failingSince: 100, unknownSince: 600 }, requeueAfterMs: 5_000 },
  ],
  [
    'a look that fails ends a series that could not see',
    { published: READY, unknownSince: 0 },
    BROKEN,
    59_999,
    { state: { published: READY, failingSince: 59_999 }, requeueAfterMs: 500 },
  ],
  [
    'ready cannot be seen, within grace',
    { published: READY, unknownSince: 0 },
    UNSEEN,
    59_000,
    { state: { published: READY, unknownSince: 0 }, requeueAfterMs: 1_000 },
  ],
  [
    'ready cannot be seen, grace over',
    { published: READY, unknownSince: 0 },
    UNSEEN,
    60_000,
    { state: { published: UNSEEN, unknownSince: 0 }, publish: UNSEEN, requeueAfterMs: 30_000 },
  ],
  [
    'unknown for long is looked at each minute',
    { published: UNSEEN, unknownSince: 0 },
    UNSEEN,
    600_000,
    { state: { published: UNSEEN, unknownSince: 0 }, publish: UNSEEN, requeueAfterMs: 60_000 },
  ],
  [
    'unknown is proven',
    { published: UNSEEN, unknownSince: 0 },
    READY,
    60_001,
    { state: { published: READY }, publish: READY },
  ],
  [
    'unknown fails once',
    { published: UNSEEN, unknownSince: 0 },
    BROKEN,
    70_000,
    { state: { published: UNSEEN, failingSince: 70_000 }, requeueAfterMs: 500 },
  ],
  ['not ready is proven', { published: BROKEN }, READY, 5, { state: { published: READY }, publish: READY }],
  [
    'not ready for another reason',
    { published: BROKEN },
    OTHERWISE,
    5,
    { state: { published: OTHERWISE }, publish: OTHERWISE },
  ],
  [
    'not ready cannot be seen, within grace',
    { published: BROKEN },
    UNSEEN,
    5,
    { state: { published: BROKEN, unknownSince: 5 }, requeueAfterMs: 5_000 },
  ],
  [
    'not ready cannot be seen, grace over',
    { published: BROKEN, unknownSince: 5 },
    UNSEEN,
    60_005,
    { state: { published: UNSEEN, unknownSince: 5 }, publish: UNSEEN, requeueAfterMs: 30_000 },
  ],
];

describe('settle', () => {
  for (const [name, state, verdict, nowMs, expected] of TABLE) {
    it(name, () => assert.deepEqual(applyHysteresis(state, verdict, nowMs, PATIENCE), expected));
  }

  it('publishes at once when there is no grace', () => {
    assert.equal(applyHysteresis({}, UNSEEN, 0, { confirmMs: 0, graceMs: 0 }).publish, UNSEEN);
  });

  it('looks ever less often at a node that cannot be seen, and never less than once a minute', () => {
    const pauses: number[] = [];
    let state: HysteresisState = {};
    for (let nowMs = 0; pauses.length < 10; ) {
      const settled = applyHysteresis(state, UNSEEN, nowMs, { confirmMs: 0, graceMs: 2_000 });
      pauses.push(settled.requeueAfterMs ?? 0);
      state = settled.state;
      nowMs += settled.requeueAfterMs ?? 0;
    }
    assert.deepEqual(pauses.slice(0, 5), [2_000, 5_000, 5_000, 6_000, 9_000]);
    assert.equal(pauses.at(-1), 60_000);
  });

  it('wants a second look even when it need not be later', () => {
    const first = applyHysteresis({ published: READY }, BROKEN, 7, { confirmMs: 0, graceMs: 0 });
    assert.deepEqual([first.publish, first.requeueAfterMs], [undefined, 0]);
    assert.equal(applyHysteresis(first.state, BROKEN, 7, { confirmMs: 0, graceMs: 0 }).publish, BROKEN);
  });
});
