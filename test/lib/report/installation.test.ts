import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Installation } from '../../../lib/host/installation.ts';
import { describeInstallation } from '../../../lib/report/installation.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';

describe('describeInstallation', () => {
  const { done, atWork, interrupted, failed } = INSTALLATIONS;
  const { reason: _, ...unexplained } = failed.failure;
  const CASES: readonly (readonly [Installation, tone: string, text: RegExp])[] = [
    [done, 'pass', /^release-20250203\.0 is installed$/],
    [atWork, 'unknown', /^release-20250203\.0 is installed; release-20260223\.0 is being installed \(step/],
    [interrupted, 'warning', /^the installation of release-20260223\.0 was interrupted .* again/],
    [{ failure: unexplained }, 'warning', /^release-20260224\.0 failed at .* in step pre-prove: gVisor /],
    [{ failure: failed.failure }, 'warning', /pre-prove: RunscNotExecutable: gVisor .* nothing was changed$/],
  ];
  for (const [installation, tone, text] of CASES)
    it(`has a line such as ${text}`, () => {
      const line = describeInstallation(installation);
      assert.equal(line.tone, tone);
      assert.match(line.text, text);
    });
});
