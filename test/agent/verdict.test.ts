import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../agent/checks/finding.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { judge } from '../../agent/verdict.ts';
import {
  blockerFinding,
  blockingFinding,
  errorFinding,
  PASSED,
  PROVEN,
  SKIPPED,
  unknownFinding,
  unproven,
  warningFinding,
} from './reports.ts';

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
  ['a proof, checks pass', [PASSED], PROVEN, 'True SandboxProven'],
  ['a proof, with an error', [errorFinding('ShimNotFound')], PROVEN, 'True SandboxProven'],
  ['a proof, with warnings', [warningFinding('RestartPending'), warningFinding('LimitsNotEnforced')], PROVEN, 'True SandboxProven'],
  ['a proof, with a skipped check', [SKIPPED], PROVEN, 'True SandboxProven'],
  ['a proof, with a blocker', [PASSED, blockerFinding('IsolationWeakened')], PROVEN, 'False IsolationWeakened'],
  ['a proof, with two blockers', [blockerFinding('RunscTooOld'), blockerFinding('IsolationWeakened')], PROVEN, 'False RunscTooOld'],
  ['a proof, while a required check cannot run', [blockingFinding('CheckFailed'), warningFinding('LimitsNotEnforced')], PROVEN, 'Unknown CheckFailed'],
  ['a proof, with a blocker and a required check that cannot run', [blockingFinding('ReleaseUnknown'), blockerFinding('IsolationWeakened')], PROVEN, 'False IsolationWeakened'],
  ['a failure', [], FAILED, 'False SandboxFailed'],
  ['a failure, checks pass', [PASSED], FAILED, 'False SandboxFailed'],
  ['a failure, while a required check cannot run', [blockingFinding('CheckFailed')], FAILED, 'False SandboxFailed'],
  ['a failure, with an error', [PASSED, errorFinding('ShimNotFound')], FAILED, 'False ShimNotFound'],
  ['a failure, with two errors', [errorFinding('RunscNotFound'), errorFinding('SidecarMissing')], FAILED, 'False RunscNotFound'],
  ['a failure, with a blocker', [blockerFinding('IsolationWeakened')], FAILED, 'False IsolationWeakened'],
  ['a failure, with a warning', [warningFinding('RestartPending')], FAILED, 'False SandboxFailed'],
  ['a failure, while checks cannot run', [SKIPPED, unknownFinding('CheckFailed'), unknownFinding('ReleaseUnknown')], FAILED, 'False SandboxFailed'],
  ['a stuck sandbox', [], STUCK, 'False SandboxStuck'],
  ['a stuck sandbox, with an error', [errorFinding('RunscNotFound')], STUCK, 'False RunscNotFound'],
  ['a stuck sandbox, with a warning', [warningFinding('SandboxStuck')], STUCK, 'False SandboxStuck'],
  ['a sandbox that died', [], unproven('failed', 'SandboxDied'), 'False SandboxDied'],
  ['hanging sandboxes', [], unproven('failed', 'SandboxHangs'), 'False SandboxHangs'],
  ["the host's kernel", [], HOST_KERNEL, 'False GuestIsHostKernel'],
  ["the host's kernel, explained", [errorFinding('SidecarMissing'), errorFinding('HandlerRunsRunc')], HOST_KERNEL, 'False HandlerRunsRunc'],
  ["the host's kernel, with other causes", [errorFinding('ShimNotFound'), blockerFinding('IsolationWeakened')], HOST_KERNEL, 'False GuestIsHostKernel'],
  ['another kernel', [errorFinding('ShimNotFound')], OTHER_KERNEL, 'False GuestNotGVisor'],
  ['another kernel, explained', [errorFinding('HandlerRunsRunc')], OTHER_KERNEL, 'False HandlerRunsRunc'],
  ['an interrupted proof', [PASSED], INTERRUPTED, 'Unknown ProbeInterrupted'],
  ['an interrupted proof, with an error', [errorFinding('RunscNotFound')], INTERRUPTED, 'Unknown ProbeInterrupted'],
  ['an interrupted proof, with a warning', [warningFinding('RestartPending')], INTERRUPTED, 'Unknown ProbeInterrupted'],
  ['a proof that cannot be made', [], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['a proof that cannot be made, while a check cannot run', [SKIPPED, unknownFinding('ContainerdUnreachable')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['a proof that cannot be made, with an error and a blocker', [errorFinding('ShimNotFound'), blockerFinding('RunscTooOld')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['a proof that cannot be made, with a warning', [warningFinding('RestartPending')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['an unreachable containerd, with errors', [errorFinding('ContainerdConfigInvalid'), errorFinding('ShimNotFound'), unknownFinding('ContainerdUnreachable')], AWAY, 'Unknown ContainerdUnreachable'],
  ['a slow boot', [PASSED], SLOW, 'Unknown SandboxSlow'],
  ['a slow boot, with an error', [errorFinding('ShimNotFound')], SLOW, 'Unknown SandboxSlow'],
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
