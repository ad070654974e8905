import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../../lib/checks/finding.ts';
import type { Installation } from '../../../lib/host/installation.ts';
import type { Outcome } from '../../../lib/proof/outcome.ts';
import { type Circumstances, judge, published, STARTING, type Verdict } from '../../../lib/report/verdict.ts';
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
} from '../../agent/reports.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';

const FAILED = unproven('failed', 'SandboxFailed');
const STUCK = unproven('stuck', 'SandboxStuck');
const HOST_KERNEL = unproven('failed', 'GuestIsHostKernel');
const OTHER_KERNEL = unproven('failed', 'GuestNotGVisor');
const INTERRUPTED = unproven('interrupted', 'ProbeInterrupted');
const SLOW = unproven('slow', 'SandboxSlow');
const AWAY = unproven('inconclusive', 'ContainerdUnreachable');
const NO_IMAGE = unproven('inconclusive', 'SandboxImageMissing');

// biome-ignore format: one row a line
const TABLE: readonly [string, readonly Finding[], Outcome, string][] = [
  ['a proof', [], PROVEN, 'True SandboxProven'],
  ['a proof, with an error', [errorFinding('ShimNotFound')], PROVEN, 'True SandboxProven'],
  ['a proof, with warnings', [warningFinding('RestartPending'), warningFinding('LimitsNotEnforced')], PROVEN, 'True SandboxProven'],
  ['a proof, with a skipped check', [SKIPPED], PROVEN, 'True SandboxProven'],
  ['a proof, with a blocker', [PASSED, blockerFinding('IsolationWeakened')], PROVEN, 'False IsolationWeakened'],
  ['a proof, with two blockers', [blockerFinding('RunscTooOld'), blockerFinding('IsolationWeakened')], PROVEN, 'False RunscTooOld'],
  ['a proof, while a required check cannot run', [blockingFinding('CheckFailed'), warningFinding('LimitsNotEnforced')], PROVEN, 'Unknown CheckFailed'],
  ['a proof, with a blocker and a required check that cannot run', [blockingFinding('ReleaseUnknown'), blockerFinding('IsolationWeakened')], PROVEN, 'False IsolationWeakened'],
  ['a failure', [], FAILED, 'False SandboxFailed'],
  ['a failure, while a required check cannot run', [blockingFinding('CheckFailed')], FAILED, 'False SandboxFailed'],
  ['a failure, with an error', [PASSED, errorFinding('ShimNotFound')], FAILED, 'False ShimNotFound'],
  ['a failure, with two errors', [errorFinding('RunscNotFound'), errorFinding('SidecarMissing')], FAILED, 'False RunscNotFound'],
  ['a failure, with a blocker', [blockerFinding('IsolationWeakened')], FAILED, 'False IsolationWeakened'],
  ['a failure, with a warning', [warningFinding('RestartPending')], FAILED, 'False SandboxFailed'],
  ['a failure, while checks cannot run', [SKIPPED, unknownFinding('CheckFailed'), unknownFinding('ReleaseUnknown')], FAILED, 'False SandboxFailed'],
  ['a stuck sandbox', [], STUCK, 'False SandboxStuck'],
  ['a stuck sandbox, with an error', [errorFinding('RunscNotFound')], STUCK, 'False RunscNotFound'],
  ["the host's kernel", [], HOST_KERNEL, 'False GuestIsHostKernel'],
  ["the host's kernel, explained", [errorFinding('SidecarMissing'), errorFinding('HandlerRunsRunc')], HOST_KERNEL, 'False HandlerRunsRunc'],
  ["the host's kernel, with other causes", [errorFinding('ShimNotFound'), blockerFinding('IsolationWeakened')], HOST_KERNEL, 'False GuestIsHostKernel'],
  ['another kernel', [errorFinding('ShimNotFound')], OTHER_KERNEL, 'False GuestNotGVisor'],
  ['another kernel, explained', [errorFinding('HandlerRunsRunc')], OTHER_KERNEL, 'False HandlerRunsRunc'],
  ['an interrupted proof, with an error', [errorFinding('RunscNotFound')], INTERRUPTED, 'Unknown ProbeInterrupted'],
  ['a proof that cannot be made, while a check cannot run', [SKIPPED, unknownFinding('ContainerdUnreachable')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['a proof that cannot be made, with an error and a blocker', [errorFinding('ShimNotFound'), blockerFinding('RunscTooOld')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['an unreachable containerd, with errors', [errorFinding('ContainerdConfigInvalid'), errorFinding('ShimNotFound'), unknownFinding('ContainerdUnreachable')], AWAY, 'Unknown ContainerdUnreachable'],
  ['a slow boot, with a blocker', [blockerFinding('RunscTooOld')], SLOW, 'Unknown SandboxSlow'],
];

describe('judge', () => {
  for (const [name, findings, outcome, expected] of TABLE) {
    it(`${name}: ${expected}`, () => {
      const { status, reason } = judge(findings, outcome);
      assert.equal(`${status} ${reason}`, expected);
    });
  }

  it("appends containerd's error to the cause", () => {
    const { message } = judge([errorFinding('ShimNotFound')], FAILED);
    assert.equal(message, 'error ShimNotFound; failed SandboxFailed');
  });

  it('passes the message of a proof that cannot be made', () => {
    assert.equal(judge([], NO_IMAGE).message, 'inconclusive SandboxImageMissing');
  });
});

describe('published, with what the Node says', () => {
  const BOOT = 'boot-2';
  const OLD_BOOT = 'boot-1';
  const BROKEN = verdictOf('False', 'ShimNotFound');
  // biome-ignore format: one row a line
  const ROWS: readonly [string, Verdict, Circumstances, string][] = [
    ['a proof', PROVEN_VERDICT, {}, 'True SandboxProven'],
    ['a proof in a boot that the kubelet does not report', PROVEN_VERDICT, { reportedBoot: OLD_BOOT }, 'Unknown NodeRebooted'],
    ['a proof without a policy in force', PROVEN_VERDICT, { unguarded: true }, 'Unknown WritesUnguarded'],
    ['a proof beside a label of another boot', PROVEN_VERDICT, { labelBoot: OLD_BOOT }, 'True SandboxProven'],
    ['a failure in a boot that the kubelet does not report', BROKEN, { reportedBoot: OLD_BOOT, labelBoot: '', unguarded: true }, 'False ShimNotFound'],
    ['the start', STARTING, { reportedBoot: OLD_BOOT, unguarded: true }, 'Unknown AgentStarting'],
    ['the start, with a label of another boot', STARTING, { labelBoot: OLD_BOOT }, 'Unknown NodeRebooted'],
  ];
  for (const [what, verdict, seen, expected] of ROWS)
    it(`${what} is ${expected}`, () => {
      const { status, reason } = published(verdict, { boot: BOOT, ...seen });
      assert.equal(`${status} ${reason}`, expected);
    });
});

describe('published, beside an installer', () => {
  const { done: DONE, atWork: AT_WORK, interrupted: INTERRUPTED } = INSTALLATIONS;
  const BROKEN = { status: 'False', reason: 'HandlerNotLoaded', message: 'it is not loaded' } as const;
  const during = (verdict: Verdict, installation?: Installation) => published(verdict, { installation });

  it('names the release, the step, since when, and the cause', () => {
    assert.deepEqual(during(BROKEN, AT_WORK), {
      status: 'False',
      reason: 'InstallationUnderWay',
      message:
        'release-20260223.0 is being installed (step restart, begun 2026-03-01 11:59:00 UTC); meanwhile HandlerNotLoaded: it is not loaded',
    });
  });

  it('keeps the status, so that the label is as without it', () => {
    for (const verdict of [PROVEN_VERDICT, BROKEN, verdictOf('Unknown', 'CheckTimedOut')])
      for (const installation of [undefined, AT_WORK, INTERRUPTED])
        assert.equal(during(verdict, installation).status, verdict.status);
  });

  it('leaves a proven node, what concerns running pods, and a node after an installation as they are', () => {
    for (const reason of ['GuestIsHostKernel', 'GuestNotGVisor', 'HandlerRunsRunc'] as const)
      assert.equal(during(verdictOf('False', reason), AT_WORK).reason, reason);
    assert.equal(during(PROVEN_VERDICT, AT_WORK), PROVEN_VERDICT);
    assert.equal(during(BROKEN, DONE), BROKEN);
  });

  it('says what to do about an interrupted installation, under the usual reason', () => {
    const { reason, message } = during(BROKEN, INTERRUPTED);
    assert.equal(reason, 'HandlerNotLoaded');
    assert.match(message, /was interrupted \(step restart, begun .* UTC\): run gvisor-ready-install again/);
    assert.ok(message.endsWith('; it is not loaded'));
  });

  it('distinguishes a removal from an installation', () => {
    for (const [interrupted, text] of [
      [false, /^release-20260223\.0 is being removed \(/],
      [true, /^the removal of release-20260223\.0 was interrupted \(/],
    ] as const) {
      const pending = { ...AT_WORK.pending, removes: true as const, interrupted };
      assert.match(during(BROKEN, { pending }).message, text);
    }
  });
});
