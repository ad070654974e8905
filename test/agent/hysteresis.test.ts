import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { applyHysteresis, type HysteresisState, type Thresholds } from '../../agent/hysteresis.ts';
import type { Finding } from '../../lib/checks/finding.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import { judge, type Verdict } from '../../lib/report/verdict.ts';
import {
  blockerFinding,
  blockingFinding,
  errorFinding,
  PASSED,
  PROVEN,
  PROVEN_VERDICT,
  SKIPPED,
  unknownFinding,
  unproven,
  verdictOf,
  warningFinding,
} from './reports.ts';

const THRESHOLDS = { confirmMs: 500, graceMs: 60_000 };
const BROKEN = verdictOf('False', 'ShimNotFound');
const OTHER = verdictOf('False', 'RunscNotFound');
const UNEXPLAINED = verdictOf('False', 'SandboxFailed');
const UNKNOWN = verdictOf('Unknown', 'ContainerdUnreachable');
const EXHAUSTED = verdictOf('Unknown', 'NodeExhausted');
const BUSY: Verdict = { ...verdictOf('Unknown', 'SandboxSlow'), tolerated: true };

/** Behaviour, state before, verdict, time, state after, requeue. The verdict is published if it is in the state after. */
type Row = readonly [string, HysteresisState, Verdict, number, HysteresisState, number?];
const ready = { published: PROVEN_VERDICT };
const broken = { published: BROKEN };
const doubted = (since: number, tolerated = false) => ({ unproven: { since, tolerated } });
const failing = (since: number, first = since) => ({ failingSince: since, ...doubted(first) });
const inDoubt = (since: number, first = since) => ({ unknownSince: since, ...doubted(first) });
const unknown = { published: UNKNOWN, ...inDoubt(0) };

// biome-ignore format: one row a line
const FIRST: readonly Row[] = [
  ['publishes a proof at once', {}, PROVEN_VERDICT, 0, ready],
  ['waits for a confirmation of a failure', {}, BROKEN, 100, failing(100), 500],
  ['waits for the grace period', {}, UNKNOWN, 100, inDoubt(100), 5_000],
];
// biome-ignore format: one row a line
const READY_NODE: readonly Row[] = [
  ['keeps the label after one failure', ready, BROKEN, 100, { ...ready, ...failing(100) }, 500],
  ['does not confirm too early', { ...ready, ...failing(100) }, BROKEN, 599, { ...ready, ...failing(100) }, 1],
  ['publishes a confirmed failure', { ...ready, ...failing(100) }, BROKEN, 600, broken],
  ['confirms with another reason', { ...ready, ...failing(100) }, OTHER, 600, { published: OTHER }],
  ['clears a failure by a proof', { ...ready, ...failing(100) }, PROVEN_VERDICT, 600, ready],
  ['retries an unexplained failure', ready, UNEXPLAINED, 100, { ...ready, ...failing(100) }, 5_000],
  ['does not confirm an unexplained failure within 30 s', { ...ready, ...failing(100) }, UNEXPLAINED, 30_099, { ...ready, ...failing(100) }, 1],
  ['publishes an unexplained failure after 30 s', { ...ready, ...failing(100) }, UNEXPLAINED, 30_100, { published: UNEXPLAINED }],
  ['clears a failure if the node starts nothing', { ...ready, ...failing(1) }, EXHAUSTED, 5_000, { ...ready, ...inDoubt(5_000, 1) }, 5_000],
  ['keeps a failure over an Unknown', { ...ready, ...failing(1) }, UNKNOWN, 600, { ...ready, ...failing(1), unknownSince: 600 }, 5_000],
  ['ends a series of Unknown by a failure', { ...ready, ...inDoubt(0) }, BROKEN, 59_999, { ...ready, ...failing(59_999, 0) }, 500],
  ['keeps the label within the grace period', { ...ready, ...inDoubt(0) }, UNKNOWN, 59_000, { ...ready, ...inDoubt(0) }, 1_000],
  ['withdraws the label after the grace period', { ...ready, ...inDoubt(0) }, UNKNOWN, 60_000, unknown, 30_000],
  ['withdraws it by a failure that nothing confirms', { ...ready, ...inDoubt(89_000, 0) }, UNEXPLAINED, 90_000, { published: UNEXPLAINED }],
  ['withdraws it by an Unknown that just began', { ...ready, ...failing(89_000, 0) }, EXHAUSTED, 90_000, { published: EXHAUSTED, ...inDoubt(90_000, 0) }, 5_000],
];
// biome-ignore format: one row a line
const OTHER_NODES: readonly Row[] = [
  ['re-evaluates a long Unknown once a minute', unknown, UNKNOWN, 600_000, unknown, 60_000],
  ['re-evaluates one of an hour less often', unknown, UNKNOWN, 3_600_000, unknown, 360_000],
  ['re-evaluates one of a day each ten minutes', unknown, UNKNOWN, 86_400_000, unknown, 600_000],
  ['publishes a proof over Unknown', unknown, PROVEN_VERDICT, 60_001, ready],
  ['confirms a failure over Unknown', unknown, BROKEN, 700_000, { published: UNKNOWN, ...failing(700_000, 0) }, 500],
  ['publishes a proof over a failure', broken, PROVEN_VERDICT, 5, ready],
  ['publishes another failure at once', broken, OTHER, 5, { published: OTHER }],
  ['keeps a failure within the grace period', broken, UNKNOWN, 5, { ...broken, ...inDoubt(5) }, 5_000],
  ['publishes Unknown after the grace period', { ...broken, ...inDoubt(5) }, UNKNOWN, 60_005, { published: UNKNOWN, ...inDoubt(5) }, 30_000],
];
const busy = (since: number) => ({ ...ready, ...doubted(since, true) });
// biome-ignore format: one row a line
const UNDER_PRESSURE: readonly Row[] = [
  ['keeps the label while tolerated', ready, BUSY, 100, busy(100), 60_000],
  ['keeps the label for ten minutes', busy(100), BUSY, 600_099, busy(100), 1],
  ['publishes Unknown after ten minutes', busy(100), BUSY, 600_100, { ...busy(100), published: BUSY }, 60_000],
  ['keeps a failure unconfirmed', { ...ready, ...failing(50) }, BUSY, 100_000, { ...busy(50), failingSince: 50 }, 60_000],
  ['starts the grace period after the pressure', busy(0), UNKNOWN, 100_000, { ...busy(0), unknownSince: 100_000 }, 5_000],
  ['does not extend the grace period', busy(0), UNKNOWN, 600_000, { ...busy(0), published: UNKNOWN, unknownSince: 600_000 }, 5_000],
  ['counts from the first Unknown', { ...ready, ...inDoubt(50) }, BUSY, 10_000, busy(50), 60_000],
  ['ends with a proof', busy(0), PROVEN_VERDICT, 600_000, ready],
  ['ends with a failure that is confirmed', busy(0), BROKEN, 500_000, { ...busy(0), failingSince: 500_000 }, 500],
];

describe('applyHysteresis', () => {
  for (const [what, rows] of Object.entries({
    'with no published verdict': FIRST,
    'on a ready node': READY_NODE,
    'on a node that is not ready': OTHER_NODES,
    'on a ready node under pressure': UNDER_PRESSURE,
  }))
    describe(what, () => {
      for (const [behaviour, before, verdict, nowMs, state, requeueAfterMs] of rows)
        it(behaviour, () =>
          assert.deepEqual(applyHysteresis(before, verdict, nowMs, THRESHOLDS), {
            state,
            ...(state.published === verdict ? { publish: verdict } : {}),
            ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }),
          }),
        );
    });

  it('publishes Unknown at once without a grace period', () => {
    assert.equal(applyHysteresis({}, UNKNOWN, 0, { confirmMs: 0, graceMs: 0 }).publish, UNKNOWN);
  });

  it('needs a second failing evaluation even with confirmMs 0', () => {
    const thresholds = { confirmMs: 0, graceMs: 0 };
    const first = applyHysteresis(ready, BROKEN, 7, thresholds);
    assert.deepEqual([first.publish, first.requeueAfterMs], [undefined, 0]);
    assert.equal(applyHysteresis(first.state, BROKEN, 7, thresholds).publish, BROKEN);
  });

  it('backs off to one evaluation a minute while the verdict is Unknown', () => {
    const pauses: number[] = [];
    let state: HysteresisState = {};
    for (let nowMs = 0; pauses.length < 10; ) {
      const result = applyHysteresis(state, UNKNOWN, nowMs, { confirmMs: 0, graceMs: 2_000 });
      pauses.push(result.requeueAfterMs ?? 0);
      state = result.state;
      nowMs += result.requeueAfterMs ?? 0;
    }
    assert.deepEqual(pauses.slice(0, 5), [2_000, 5_000, 5_000, 6_000, 9_000]);
    assert.equal(pauses.at(-1), 60_000);
  });
});

type Observation = {
  readonly findings: readonly Finding[];
  readonly outcome: Outcome;
  readonly afterMs: number;
  readonly busy: boolean;
};
const FINDINGS = [
  PASSED,
  SKIPPED,
  errorFinding('ShimNotFound'),
  blockerFinding('IsolationWeakened'),
  warningFinding('RestartPending'),
  unknownFinding('CheckTimedOut'),
  blockingFinding('CheckFailed'),
];
const OUTCOMES: readonly Outcome[] = [
  PROVEN,
  unproven('failed', 'SandboxFailed'),
  unproven('failed', 'GuestIsHostKernel'),
  unproven('stuck', 'SandboxStuck'),
  unproven('interrupted', 'ProbeInterrupted'),
  unproven('inconclusive', 'ContainerdUnreachable'),
  unproven('slow', 'SandboxSlow'),
];
const anObservation = fc.record<Observation>({
  findings: fc.array(fc.constantFrom(...FINDINGS), { maxLength: 4 }),
  outcome: fc.constantFrom(...OUTCOMES),
  afterMs: fc.oneof(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 0, max: 70_000 })),
  busy: fc.boolean(),
});
const observations = fc.array(anObservation, { maxLength: 40 });
const anyThresholds = fc.record({
  confirmMs: fc.integer({ min: 0, max: 2_000 }),
  graceMs: fc.integer({ min: 0, max: 90_000 }),
});
const ofStatus = (status: Verdict['status']) =>
  anObservation.filter(({ findings, outcome }) => judge(findings, outcome).status === status);

/** Judges each observation and applies hysteresis; fractions of a millisecond, as on a real clock. */
function play(sequence: readonly Observation[], thresholds: Thresholds, before: HysteresisState = {}) {
  let state = before;
  let nowMs = 0.25;
  return sequence.map((observation) => {
    nowMs += observation.afterMs + 0.125;
    const judged = judge(observation.findings, observation.outcome);
    const isTolerated = observation.busy && judged.status === 'Unknown';
    const verdict: Verdict = isTolerated ? { ...judged, tolerated: true } : judged;
    const result = applyHysteresis(state, verdict, nowMs, thresholds);
    state = result.state;
    return { ...result, observation, verdict, nowMs };
  });
}

describe('judge and applyHysteresis, for any sequence of evaluations', () => {
  const RUNS = { numRuns: 1_000 };

  /** Checks the steps of any sequence of observations under any thresholds. */
  const always = (check: (steps: ReturnType<typeof play>, thresholds: Thresholds) => void) =>
    fc.assert(
      fc.property(observations, anyThresholds, (all, thresholds) => check(play(all, thresholds), thresholds)),
      RUNS,
    );

  it('publish True only for a proof in that evaluation, and with every required check', () =>
    always((steps) => {
      for (const { publish, observation } of steps) {
        if (publish?.status !== 'True') continue;
        assert.equal(observation.outcome.kind, 'proven');
        assert.ok(!observation.findings.some((each) => each.status === 'unknown' && each.blocking));
      }
    }));

  it('keep True for an Unknown within the grace period after a proof', () =>
    always((steps, { graceMs }) => {
      let unprovenSince: number | undefined;
      let published: Verdict | undefined;
      for (const { verdict, nowMs, state } of steps) {
        unprovenSince = verdict.status === 'True' ? undefined : (unprovenSince ?? nowMs);
        const isWithin = unprovenSince !== undefined && nowMs - unprovenSince < graceMs;
        if (verdict.status === 'Unknown' && published?.status === 'True' && isWithin)
          assert.deepEqual(state.published, published);
        published = state.published;
      }
    }));

  it('withdraw True within a bound after the last proof, in any mix of failures and Unknowns', () => {
    const unproven = fc.array(fc.oneof(ofStatus('False'), ofStatus('Unknown')), { maxLength: 60 });
    fc.assert(
      fc.property(unproven, anyThresholds, (sequence, thresholds) => {
        const { confirmMs, graceMs } = thresholds;
        const steps = play(sequence, thresholds, ready);
        const beganMs = steps[0]?.nowMs ?? 0;
        let boundMs = graceMs + Math.max(confirmMs, 30_000);
        for (const { nowMs, state, verdict, requeueAfterMs = 0 } of steps) {
          if (verdict.tolerated) boundMs = Math.max(boundMs, 600_000);
          const lastedMs = nowMs - beganMs;
          if (lastedMs >= boundMs) assert.notEqual(state.published?.status, 'True');
          else if (state.published?.status === 'True') assert.ok(lastedMs + requeueAfterMs <= boundMs + 1);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('keep True for a single failure among Unknowns', () => {
    const unknowns = fc.array(ofStatus('Unknown'), { maxLength: 5 });
    const thresholds = { confirmMs: 500, graceMs: Number.POSITIVE_INFINITY };
    fc.assert(
      fc.property(unknowns, ofStatus('False'), unknowns, (before, failing, after) => {
        for (const { state } of play([...before, failing, ...after], thresholds, ready))
          assert.deepEqual(state.published, PROVEN_VERDICT);
      }),
    );
  });

  it('withdraw for two failures that are confirmMs and 30 s apart', () => {
    const failure = ofStatus('False');
    fc.assert(
      fc.property(observations, failure, failure, anyThresholds, (before, first, second, thresholds) => {
        const last = { ...second, afterMs: Math.max(thresholds.confirmMs, 30_000) };
        const step = play([...before, first, last], thresholds).at(-1);
        assert.deepEqual(step?.state.published, step?.verdict);
      }),
      RUNS,
    );
  });

  it('requeue exactly while a verdict is Unknown or unpublished', () =>
    always((steps) => {
      for (const { state, verdict, requeueAfterMs } of steps) {
        const isFinal = verdict.status !== 'Unknown' && state.published === verdict;
        assert.equal(requeueAfterMs === undefined, isFinal);
        if (requeueAfterMs !== undefined) assert.ok(requeueAfterMs >= 0 && Number.isFinite(requeueAfterMs));
      }
    }));
});
