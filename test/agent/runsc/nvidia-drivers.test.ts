import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  compareDrivers,
  driversOf,
  nearestDrivers,
  parseNvidiaVersion,
} from '../../../agent/runsc/nvidia-drivers.ts';
import { readTable } from '../../../hack/nvidia-drivers.ts';
import { parseRunscRelease } from '../../../lib/runsc/program.ts';

describe('driversOf', () => {
  it('knows each release of the table, once, and its drivers in order', async () => {
    const table = await readTable();
    const releases = table.flatMap((row) => row.releases.split(' '));
    assert.deepEqual(releases, [...new Set(releases)].sort());
    for (const release of releases) {
      const { supported, unqualified } = driversOf(parseRunscRelease(`release-${release}`)) ?? {};
      assert.ok(supported !== undefined && supported.length > 0, release);
      assert.deepEqual(supported, supported.toSorted(compareDrivers));
      assert.deepEqual(unqualified, unqualified?.toSorted(compareDrivers));
      for (const driver of [...supported, ...(unqualified ?? [])])
        assert.equal(parseNvidiaVersion(driver), driver);
    }
  });

  for (const text of ['', '20260817.0', 'release-20260817.1', 'release-20260817.0-1-g0', 'google-20260817.0'])
    it(`knows nothing of "${text}"`, () => assert.equal(driversOf(parseRunscRelease(text)), undefined));
});

describe('parseNvidiaVersion', () => {
  for (const [text, version] of [
    ['580.105.8', '580.105.08'],
    ['580.105.08', '580.105.08'],
    ['555.58', '555.58.00'],
    ['620.6.0', '620.06.00'],
    ['555', undefined],
    ['555.58.02.1', undefined],
    ['555.58.', undefined],
    ['555.58-beta', undefined],
    [`${'5'.repeat(400)}.1`, undefined],
    ['', undefined],
  ] as const)
    it(`reads "${text.slice(0, 20)}" as ${version}`, () => assert.equal(parseNvidiaVersion(text), version));
});

describe('nearestDrivers', () => {
  const DRIVERS = ['535.129.03', '570.86.15', '570.195.03', '580.65.06', '580.105.08'];
  for (const [driver, nearest] of [
    ['570.124.06', ['570.86.15', '570.195.03']],
    ['570.211.01', ['570.195.03']],
    ['570.09.01', ['570.86.15']],
    ['575.57.08', ['570.195.03', '580.65.06']],
    ['590.48.01', ['580.105.08']],
    ['470.82.00', ['535.129.03']],
  ] as const)
    it(`of ${driver} are ${nearest.join(' and ')}`, () =>
      assert.deepEqual(nearestDrivers(driver, DRIVERS), nearest));
});
