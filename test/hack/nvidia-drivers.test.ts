import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { differencesIn, parseDrivers, type Row } from '../../hack/nvidia-drivers.ts';
import { run } from '../../hack/run.ts';

/** The calls that register drivers, and lines near them, in the forms of gVisor's releases. */
const SOURCE = `
func addDriverABI(major, minor, patch int, checksumX86_64, checksumARM64 string, cons driverABIFunc) driverABIFunc {
		v535_104_05 := addUnsupportedDriverABI(535, 104, 05, func() *driverABI {
		_ = addDriverABI(580, 105, 8, "d9c6", ChecksumNoDriver, v580_95_05)
		v570_86_15 := addDriverABI(570, 86, 15, "8770", ChecksumNoDriver, func() *driverABI {
		_ = addDriverABI(620, 6, 0, ChecksumNoDriver, "95b9", func() *driverABI {
`;
const SUPPORTED = '570.86.15 580.105.08 620.06.00';
const UNQUALIFIED = '535.104.05';

describe('parseDrivers', () => {
  it('lists what gVisor registers, in order and as gVisor prints it', () => {
    assert.deepEqual(parseDrivers(SOURCE), { supported: SUPPORTED, unqualified: UNQUALIFIED });
  });

  it('throws where gVisor registers drivers in another way', () => {
    assert.throws(
      () => parseDrivers('package nvproxy'),
      /No call of addDriverABI in pkg\/sentry\/.*version\.go/,
    );
  });
});

describe('differencesIn', () => {
  it('names the releases whose tag has other drivers or is not there', async (t) => {
    const clone = mkdtempSync(join(tmpdir(), 'gvisor-'));
    t.after(() => rmSync(clone, { recursive: true }));
    const file = join(clone, 'pkg/sentry/devices/nvproxy/version.go');
    mkdirSync(dirname(file), { recursive: true });
    const git = (...args: string[]) =>
      run('git', ['-C', clone, '-c', 'user.name=a', '-c', 'user.email=a@example.org', ...args]);
    await git('init', '-q');
    for (const [tag, text] of [
      ['release-1', SOURCE],
      ['release-2', SOURCE.replace('620, 6', '620, 7')],
      ['release-3', SOURCE.replace('535, 104', '535, 113')],
    ] as const) {
      writeFileSync(file, text);
      await git('add', '.');
      await git('commit', '-q', '-m', tag);
      await git('tag', tag);
    }
    const row: Row = { module: 'v0', releases: '1 2', supported: SUPPORTED, unqualified: UNQUALIFIED };
    assert.deepEqual(await differencesIn(clone, [row, { ...row, releases: '3 4' }]), [
      'release-2 knows other drivers than v0',
      'release-3 knows other drivers than v0',
      `release-4: no such tag in ${clone}`,
    ]);
  });
});
