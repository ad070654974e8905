import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareReleases, parseRunscRelease } from '../../../agent/runsc/program.ts';

describe('parseRunscRelease', () => {
  const FORMS: readonly (readonly [string, readonly [number, number] | undefined])[] = [
    ['release-20260817.0', [20260817, 0]],
    ['release-20260817.12', [20260817, 12]],
    ['release-20260817.0-70-g3c5eee17dc45', [20260817, 0]],
    ['release-20260817.0-70-g3c5eee17dc45-dirty', [20260817, 0]],
    ['release-20260817', [20260817, 0]],
    ['google-20260101.1', [20260101, 1]],
    ['g-20260101', [20260101, 0]],
    ['0.0~20240729.0', [20240729, 0]],
    ['0.0~20240729.0-2+b1', [20240729, 0]],
    ['20220516.0', [20220516, 0]],
    ['VERSION_MISSING', undefined],
    ['release-20261301.0', undefined],
    ['release-20260800.0', undefined],
    ['release-99', undefined],
    ['1.3.4', undefined],
    ['202608170', undefined],
    ['', undefined],
  ];
  for (const [text, numbers] of FORMS) {
    it(`reads ${text || 'nothing'} as ${numbers ?? 'unknown'}`, () => {
      const release = parseRunscRelease(text);
      assert.deepEqual(release.kind === 'release' ? [release.date, release.point] : undefined, numbers);
      assert.equal(release.text, text);
    });
  }

  it('orders by date and then by number, and not at all with an unknown', () => {
    const order = (a: string, b: string) => compareReleases(parseRunscRelease(a), parseRunscRelease(b));
    assert.ok((order('0.0~20240729.0', 'release-20240325.0') ?? 0) > 0);
    assert.ok((order('release-20260817.9', 'release-20260817.10') ?? 0) < 0);
    assert.equal(order('release-20260817.0', '20260817.0'), 0);
    assert.equal(order('VERSION_MISSING', '20260817.0'), undefined);
  });
});
