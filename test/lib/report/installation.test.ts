import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Installation } from '../../../lib/node/host/installation.ts';
import { describeInstallation } from '../../../lib/report/installation.ts';

const SINCE = '2026-11-28T16:40:42.000Z';
const PENDING = { release: 'release-20260223.0', step: 'restart', since: SINCE, interrupted: false };
const AT_WORK: Installation = { installed: 'release-20250203.0', pending: PENDING };
const INTERRUPTED: Installation = { pending: { ...PENDING, interrupted: true } };

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
