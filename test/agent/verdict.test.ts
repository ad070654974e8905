import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Finding } from '../../agent/finding.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { judge } from '../../agent/verdict.ts';
import {
  blockerFinding,
  errorFinding,
  PASSED,
  PROVEN,
  SKIPPED,
  unproven,
  unseen,
  warningFinding,
  withheld,
} from './reports.ts';

const FAILED = unproven('failed', 'SandboxFailed');
const STUCK = unproven('stuck', 'SandboxStuck');
const HOST_KERNEL = unproven('failed', 'GuestIsHostKernel');
const OTHER_KERNEL = unproven('failed', 'GuestNotGVisor');
const INTERRUPTED = unproven('interrupted', 'ProbeInterrupted');
const SLOW = unproven('slow', 'SandboxSlow');
const AWAY = unproven('inconclusive', 'ContainerdUnreachable');
const NO_IMAGE = unproven('inconclusive', 'SandboxImageMissing');

const TABLE: readonly [string, readonly Finding[], Outcome, string][] = [
  ['proven, nothing seen', [], PROVEN, 'True SandboxProven'],
  ['proven, all passes', [PASSED], PROVEN, 'True SandboxProven'],
  ['proven in spite of what explains', [errorFinding('ShimNotFound')], PROVEN, 'True SandboxProven'],
  ['proven in spite of advice', [warningFinding('RestartPending')], PROVEN, 'True SandboxProven'],
  ['proven in spite of the unseen', [SKIPPED], PROVEN, 'True SandboxProven'],
  ['proven and refused', [PASSED, blockerFinding('IsolationWeakened')], PROVEN, 'False IsolationWeakened'],
  [
    'proven and refused twice: the first counts',
    [blockerFinding('RunscTooOld'), blockerFinding('IsolationWeakened')],
    PROVEN,
    'False RunscTooOld',
  ],
  ['failed, nothing seen', [], FAILED, 'False SandboxFailed'],
  ['failed, all passes', [PASSED], FAILED, 'False SandboxFailed'],
  ['proven, while a guard could not look', [withheld('CheckFailed')], PROVEN, 'Unknown CheckFailed'],
  [
    'proven, refused, and another required check could not look',
    [withheld('ReleaseUnknown'), blockerFinding('IsolationWeakened')],
    PROVEN,
    'False IsolationWeakened',
  ],
  ['failed, while a guard could not look', [withheld('CheckFailed')], FAILED, 'False SandboxFailed'],
  ['failed and explained', [PASSED, errorFinding('ShimNotFound')], FAILED, 'False ShimNotFound'],
  [
    'failed and explained twice: the first counts',
    [errorFinding('RunscNotFound'), errorFinding('SidecarMissing')],
    FAILED,
    'False RunscNotFound',
  ],
  ['failed and refused', [blockerFinding('IsolationWeakened')], FAILED, 'False IsolationWeakened'],
  ['failed and advised', [warningFinding('RestartPending')], FAILED, 'False SandboxFailed'],
  [
    'failed and unseen',
    [SKIPPED, unseen('CheckFailed'), unseen('ReleaseUnknown')],
    FAILED,
    'False SandboxFailed',
  ],
  ['stuck, nothing seen', [], STUCK, 'False SandboxStuck'],
  ['stuck and explained', [errorFinding('RunscNotFound')], STUCK, 'False RunscNotFound'],
  ['stuck and advised', [warningFinding('SandboxStuck')], STUCK, 'False SandboxStuck'],
  ["the host's kernel", [], HOST_KERNEL, 'False GuestIsHostKernel'],
  [
    "the host's kernel, explained",
    [errorFinding('SidecarMissing'), errorFinding('HandlerRunsRunc')],
    HOST_KERNEL,
    'False HandlerRunsRunc',
  ],
  [
    "the host's kernel, which no other file may hide",
    [errorFinding('ShimNotFound'), blockerFinding('IsolationWeakened')],
    HOST_KERNEL,
    'False GuestIsHostKernel',
  ],
  ['a foreign kernel', [errorFinding('ShimNotFound')], OTHER_KERNEL, 'False GuestNotGVisor'],
  ['interrupted, nothing seen', [PASSED], INTERRUPTED, 'Unknown ProbeInterrupted'],
  [
    'interrupted, and files show a fault',
    [errorFinding('RunscNotFound')],
    INTERRUPTED,
    'Unknown ProbeInterrupted',
  ],
  ['interrupted and advised', [warningFinding('RestartPending')], INTERRUPTED, 'Unknown ProbeInterrupted'],
  ['inconclusive, nothing seen', [], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['inconclusive, unseen', [unseen('ContainerdUnreachable')], NO_IMAGE, 'Unknown SandboxImageMissing'],
  ['inconclusive, nothing to judge', [SKIPPED], NO_IMAGE, 'Unknown SandboxImageMissing'],
  [
    'inconclusive, and files show a fault',
    [errorFinding('ShimNotFound')],
    NO_IMAGE,
    'Unknown SandboxImageMissing',
  ],
  ['slow, nothing seen', [PASSED], SLOW, 'Unknown SandboxSlow'],
  ['slow, and files show a fault', [errorFinding('ShimNotFound')], SLOW, 'Unknown SandboxSlow'],
  ['slow and refused', [blockerFinding('RunscTooOld')], SLOW, 'Unknown SandboxSlow'],
  [
    'containerd away, and files show what might keep it from starting',
    [errorFinding('ContainerdConfigInvalid'), errorFinding('ShimNotFound'), unseen('ContainerdUnreachable')],
    AWAY,
    'Unknown ContainerdUnreachable',
  ],
  ['a sandbox that died', [], unproven('failed', 'SandboxDied'), 'False SandboxDied'],
  ['sandboxes that hang', [], unproven('failed', 'SandboxHangs'), 'False SandboxHangs'],
  [
    'proven, where limits must hold and could not be seen',
    [withheld('CheckFailed'), warningFinding('LimitsNotEnforced')],
    PROVEN,
    'Unknown CheckFailed',
  ],
  ['proven, and limits hold nobody', [warningFinding('LimitsNotEnforced')], PROVEN, 'True SandboxProven'],
  [
    'proven, where limits must hold',
    [blockerFinding('LimitsNotEnforced')],
    PROVEN,
    'False LimitsNotEnforced',
  ],
  [
    'a foreign guest, explained by what runs instead',
    [errorFinding('HandlerRunsRunc')],
    OTHER_KERNEL,
    'False HandlerRunsRunc',
  ],
  [
    'inconclusive, explained and refused: no file withdraws a node that could not be tried',
    [errorFinding('ShimNotFound'), blockerFinding('RunscTooOld')],
    NO_IMAGE,
    'Unknown SandboxImageMissing',
  ],
  ['inconclusive and advised', [warningFinding('RestartPending')], NO_IMAGE, 'Unknown SandboxImageMissing'],
];

describe('judge', () => {
  for (const [name, findings, outcome, expected] of TABLE) {
    it(`${name}: ${expected}`, () => {
      const { status, reason } = judge(findings, outcome);
      assert.equal(`${status} ${reason}`, expected);
    });
  }

  it("puts containerd's words behind the cause", () => {
    const { message } = judge([errorFinding('ShimNotFound')], FAILED);
    assert.equal(message, 'error ShimNotFound; failed SandboxFailed');
  });

  it('says of an unknown why it could not look', () => {
    assert.equal(judge([], NO_IMAGE).message, 'inconclusive SandboxImageMissing');
  });
});
