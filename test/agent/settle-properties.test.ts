import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Finding } from '../../agent/finding.ts';
import { applyHysteresis, type HysteresisResult, type HysteresisState } from '../../agent/hysteresis.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { judge, type Verdict } from '../../agent/verdict.ts';
import {
  blockerFinding,
  errorFinding,
  PASSED,
  PROVEN,
  SKIPPED,
  unproven,
  unseen,
  verdictOf,
  warningFinding,
  withheld,
} from './reports.ts';

const PATIENCE = { confirmMs: 500, graceMs: 60_000 };
const READY = verdictOf('True', 'SandboxProven');

type Look = {
  readonly findings: readonly Finding[];
  readonly outcome: Outcome;
  readonly afterMs: number;
  /** Whether the node is under pressure. */
  readonly busy: boolean;
};

const FINDINGS = [
  PASSED,
  errorFinding('ShimNotFound'),
  errorFinding('RunscNotFound'),
  blockerFinding('IsolationWeakened'),
  warningFinding('RestartPending'),
  SKIPPED,
  unseen('CheckTimedOut'),
  withheld('CheckFailed'),
];
const OUTCOMES = [
  PROVEN,
  unproven('failed', 'SandboxFailed'),
  unproven('failed', 'GuestIsHostKernel'),
  unproven('stuck', 'SandboxStuck'),
  unproven('interrupted', 'ProbeInterrupted'),
  unproven('inconclusive', 'ContainerdUnreachable'),
  unproven('slow', 'SandboxSlow'),
];
const aLook = fc.record<Look>({
  findings: fc.array(fc.constantFrom(...FINDINGS), { maxLength: 4 }),
  outcome: fc.constantFrom(...OUTCOMES),
  afterMs: fc.oneof(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 0, max: 70_000 })),
  busy: fc.boolean(),
});
const looks = fc.array(aLook, { maxLength: 40 });
const patience = fc.record({
  confirmMs: fc.integer({ min: 0, max: 2_000 }),
  graceMs: fc.integer({ min: 0, max: 90_000 }),
});

type Step = HysteresisResult & { readonly look: Look; readonly verdict: Verdict; readonly nowMs: number };

/** What a sequence of looks leads to, look by look; fractions of a millisecond as a real clock has them. */
function play(sequence: readonly Look[], patient: typeof PATIENCE, state: HysteresisState = {}): Step[] {
  let before = state;
  let nowMs = 0.25;
  return sequence.map((look) => {
    nowMs += look.afterMs + 0.125;
    const judged = judge(look.findings, look.outcome);
    const verdict: Verdict =
      look.busy && judged.status === 'Unknown' ? { ...judged, tolerated: true } : judged;
    const settled = applyHysteresis(before, verdict, nowMs, patient);
    before = settled.state;
    return { ...settled, look, verdict, nowMs };
  });
}

const ofStatus = (status: Verdict['status']) =>
  aLook.filter(({ findings, outcome }) => judge(findings, outcome).status === status);

describe('judge and settle, over any sequence of looks', () => {
  it('never publish True without a proof in that very look, nor while a guard could not look', () => {
    fc.assert(
      fc.property(looks, patience, (sequence, patient) => {
        for (const { publish, look } of play(sequence, patient)) {
          if (publish?.status !== 'True') continue;
          assert.equal(look.outcome.kind, 'proven');
          assert.ok(!look.findings.some((each) => each.status === 'unknown' && each.blocking));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('never let True go for looks that could not see within the grace', () => {
    fc.assert(
      fc.property(looks, patience, (sequence, patient) => {
        let unknownSince: number | undefined;
        let published: Verdict | undefined;
        for (const step of play(sequence, patient)) {
          unknownSince = step.verdict.status === 'Unknown' ? (unknownSince ?? step.nowMs) : undefined;
          const within = unknownSince !== undefined && step.nowMs - unknownSince < patient.graceMs;
          if (published?.status === 'True' && within) assert.deepEqual(step.state.published, published);
          published = step.state.published;
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('never keep True for more than an hour in which no look could see, whatever excuses them', () => {
    const HOUR_MS = 3_600_000;
    const long = fc.array(
      fc.tuple(ofStatus('Unknown'), fc.integer({ min: 1, max: 900_000 })).map(([look, afterMs]) => ({
        ...look,
        afterMs,
      })),
      { minLength: 5, maxLength: 30 },
    );
    fc.assert(
      fc.property(long, patience, (sequence, patient) => {
        const steps = play(sequence, patient, { published: READY });
        const beganMs = steps[0]?.nowMs ?? 0;
        for (const { nowMs, state } of steps)
          if (nowMs - beganMs >= HOUR_MS) assert.equal(state.published?.status, 'Unknown');
      }),
      { numRuns: 1_000 },
    );
  });

  it('never withdraw for one failing look, whatever could not be seen around it', () => {
    const blind = fc.array(ofStatus('Unknown'), { maxLength: 5 });
    fc.assert(
      fc.property(blind, ofStatus('False'), blind, (before, failing, after) => {
        const endless = { confirmMs: 500, graceMs: Number.POSITIVE_INFINITY };
        for (const step of play([...before, failing, ...after], endless, { published: READY })) {
          assert.deepEqual(step.state.published, READY);
        }
      }),
    );
  });

  it('never withdraw when each failing look is followed by a passing one', () => {
    const pair = fc.tuple(ofStatus('False'), ofStatus('True'));
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 10 }), patience, (pairs, patient) => {
        for (const step of play(pairs.flat(), patient, { published: READY })) {
          assert.equal(step.state.published?.status, 'True');
        }
      }),
    );
  });

  it('always withdraw for two failing looks that are confirmMs apart, or 30 s where nothing explains them', () => {
    fc.assert(
      fc.property(looks, ofStatus('False'), ofStatus('False'), patience, (before, first, second, patient) => {
        const late = { ...second, afterMs: Math.max(patient.confirmMs, 30_000) };
        const steps = play([...before, first, late], patient);
        assert.deepEqual(steps.at(-1)?.state.published, steps.at(-1)?.verdict);
      }),
      { numRuns: 1_000 },
    );
  });

  it('always say when to look again while something is unsettled, as a time that can be waited for', () => {
    fc.assert(
      fc.property(looks, patience, (sequence, patient) => {
        for (const { state, verdict, requeueAfterMs } of play(sequence, patient)) {
          const settled = verdict.status !== 'Unknown' && state.published === verdict;
          assert.equal(requeueAfterMs === undefined, settled);
          if (requeueAfterMs !== undefined) assert.ok(requeueAfterMs >= 0 && Number.isFinite(requeueAfterMs));
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
