import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyHysteresis, type HysteresisResult, type HysteresisState } from '../../agent/hysteresis.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { verdictOf } from './reports.ts';

const PATIENCE = { confirmMs: 500, graceMs: 60_000 };
const READY = verdictOf('True', 'SandboxProven');
const BROKEN = verdictOf('False', 'ShimNotFound');
const UNSEEN = verdictOf('Unknown', 'ContainerdUnreachable');
const LIMIT_MS = 600_000;
const BUSY: Verdict = { ...verdictOf('Unknown', 'SandboxSlow'), tolerated: true };

describe('settle, on a node under pressure', () => {
  const HELD: readonly [string, HysteresisState, Verdict, number, HysteresisResult][] = [
    [
      'ready cannot be seen for pressure',
      { published: READY },
      BUSY,
      100,
      { state: { published: READY, toleratedSince: 100 }, requeueAfterMs: 60_000 },
    ],
    [
      'that holds for ten minutes',
      { published: READY, toleratedSince: 100 },
      BUSY,
      LIMIT_MS + 99,
      { state: { published: READY, toleratedSince: 100 }, requeueAfterMs: 60_000 },
    ],
    [
      'and no longer',
      { published: READY, toleratedSince: 100 },
      BUSY,
      LIMIT_MS + 100,
      { state: { published: BUSY, toleratedSince: 100 }, publish: BUSY, requeueAfterMs: 60_000 },
    ],
    [
      'a failure neither is confirmed by it nor wiped out',
      { published: READY, failingSince: 50 },
      BUSY,
      100_000,
      { state: { published: READY, failingSince: 50, toleratedSince: 100_000 }, requeueAfterMs: 60_000 },
    ],
    [
      'the grace begins when the pressure is over',
      { published: READY, toleratedSince: 0 },
      UNSEEN,
      100_000,
      { state: { published: READY, toleratedSince: 0, unknownSince: 100_000 }, requeueAfterMs: 5_000 },
    ],
    [
      'a pressure that comes and goes prolongs no excuse',
      { published: READY, toleratedSince: 0 },
      UNSEEN,
      LIMIT_MS,
      {
        state: { published: UNSEEN, toleratedSince: 0, unknownSince: LIMIT_MS },
        publish: UNSEEN,
        requeueAfterMs: 5_000,
      },
    ],
    [
      'what could not be seen before counts as well',
      { published: READY, unknownSince: 50 },
      BUSY,
      10_000,
      { state: { published: READY, toleratedSince: 50 }, requeueAfterMs: 60_000 },
    ],
    [
      'a proof ends it',
      { published: READY, toleratedSince: 0 },
      READY,
      LIMIT_MS,
      { state: { published: READY }, publish: READY },
    ],
    [
      'a failing look ends it too',
      { published: READY, toleratedSince: 0 },
      BROKEN,
      LIMIT_MS,
      { state: { published: READY, failingSince: LIMIT_MS }, requeueAfterMs: 500 },
    ],
  ];
  for (const [name, state, verdict, nowMs, expected] of HELD) {
    it(name, () => assert.deepEqual(applyHysteresis(state, verdict, nowMs, PATIENCE), expected));
  }
});
