import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Installation } from '../../../agent/host/installation.ts';
import { describeInstallation, duringInstallation } from '../../../agent/text/installation.ts';
import { PROVEN_VERDICT, verdictOf } from '../reports.ts';

const SINCE = '2026-11-28T16:40:42.000Z';
const PENDING = { release: 'release-20260223.0', step: 'restart', since: SINCE, interrupted: false };
const AT_WORK: Installation = { installed: 'release-20250203.0', pending: PENDING };
const INTERRUPTED: Installation = { pending: { ...PENDING, interrupted: true } };
const BROKEN = { status: 'False', reason: 'HandlerNotLoaded', message: 'it is not loaded' } as const;

describe('duringInstallation', () => {
  it('names the release, the step, since when, and the cause', () => {
    assert.deepEqual(duringInstallation(BROKEN, AT_WORK), {
      status: 'False',
      reason: 'InstallationUnderWay',
      message:
        'release-20260223.0 is being installed (step restart, begun 2026-11-28 16:40:42 UTC); meanwhile HandlerNotLoaded: it is not loaded',
    });
  });

  it('keeps the status, so that the label is as without it', () => {
    for (const verdict of [PROVEN_VERDICT, BROKEN, verdictOf('Unknown', 'CheckTimedOut')])
      for (const installation of [undefined, AT_WORK, INTERRUPTED])
        assert.equal(duringInstallation(verdict, installation).status, verdict.status);
  });

  it('leaves a proven node as it is', () => {
    assert.equal(duringInstallation(PROVEN_VERDICT, AT_WORK), PROVEN_VERDICT);
  });

  it('hides no reason that concerns running pods', () => {
    for (const reason of ['GuestIsHostKernel', 'GuestNotGVisor', 'HandlerRunsRunc'] as const)
      assert.equal(duringInstallation(verdictOf('False', reason), AT_WORK).reason, reason);
  });

  it('says what to do about an interrupted installation, under the usual reason', () => {
    const { reason, message } = duringInstallation(BROKEN, INTERRUPTED);
    assert.equal(reason, 'HandlerNotLoaded');
    assert.match(message, /was interrupted \(step restart, begun .* UTC\): run gvisor-ready-install again/);
    assert.ok(message.endsWith('; it is not loaded'));
  });

  it('distinguishes a removal from an installation', () => {
    for (const [interrupted, text] of [
      [false, /^release-20260223\.0 is being removed \(/],
      [true, /^the removal of release-20260223\.0 was interrupted \(/],
    ] as const)
      assert.match(
        duringInstallation(BROKEN, { pending: { ...PENDING, removes: true, interrupted } }).message,
        text,
      );
  });

  it('changes nothing where only an earlier installation is known', () => {
    assert.equal(duringInstallation(BROKEN, { installed: 'release-20250203.0' }), BROKEN);
  });
});

describe('describeInstallation', () => {
  const FAILURE = { release: 'release-20260224.0', step: 'pre-prove', message: 'does not boot', at: SINCE };
  const CASES: readonly (readonly [Installation, tone: string, text: RegExp])[] = [
    [{ installed: 'release-20250203.0' }, 'pass', /^release-20250203\.0 is installed$/],
    [AT_WORK, 'unknown', /^release-20250203\.0 is installed; release-20260223\.0 is being installed \(step/],
    [INTERRUPTED, 'warning', /^the installation of release-20260223\.0 was interrupted .* again/],
    [{ failure: FAILURE }, 'warning', /^release-20260224\.0 failed at .* in step pre-prove: does not boot$/],
    [
      { failure: { ...FAILURE, reason: 'RunscNotFound' } },
      'warning',
      /pre-prove: RunscNotFound: does not boot$/,
    ],
  ];
  for (const [installation, tone, text] of CASES)
    it(`has a line such as ${text}`, () => {
      const line = describeInstallation(installation);
      assert.equal(line.tone, tone);
      assert.match(line.text, text);
    });
});
