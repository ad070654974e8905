import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FileResult } from './run-file.ts';
import { environmentRows, summaryLines, type TierResult } from './summary.ts';

const MACHINE = ['machine', 'Linux 6.18'];
const file = (name: string, part: Partial<FileResult> = {}): FileResult => ({
  ...{ file: name, passed: true, seconds: 1, tests: 4, skipped: [], output: '' },
  ...part,
});
const tier = (
  name: string,
  files: readonly FileResult[],
  secondTries: readonly string[] = [],
): TierResult => ({
  ...{ name, files, secondTries, seconds: 118, passed: files.every(({ passed }) => passed) },
});

test('the summary counts files, tests and skips, and names the skipped tests and the tiers that did not run', () => {
  const results = [
    tier('unit', [file('a.test.ts', { skipped: ['as root'] }), file('b.test.ts')]),
    tier('e2e', [file('c.test.ts')], ['c.test.ts']),
  ];
  assert.deepEqual(summaryLines([MACHINE], results, ['vm']), [
    'machine   Linux 6.18',
    'unit      passed, 2 files, 8 tests, 1 skipped, 118 s',
    'e2e       passed, 1 files, 4 tests, 118 s',
    'Skipped: a.test.ts (as root)',
    'Not run: vm',
    'Passed at the 2nd try: c.test.ts',
    'Passed: unit, e2e',
  ]);
});

test('the summary ends with the files that failed', () => {
  const results = [tier('unit', [file('a.test.ts')]), tier('api', [file('b.test.ts', { passed: false })])];
  assert.deepEqual(summaryLines([MACHINE], results).slice(2), [
    'api       FAILED, 1 files, 4 tests, 118 s',
    'FAILED: api',
    '  b.test.ts',
  ]);
});

test('a run with clusters names the versions that their programs are stamped with', async () => {
  const rows = await environmentRows(false, false);
  assert.deepEqual(rows.flat().slice(0, -1), ['machine']);
  const [, cluster, gvisor] = (await environmentRows(true, false)).map(([, text]) => text);
  assert.match(cluster ?? '', /^Kubernetes v1\.\d+\.\d+, containerd v2\.\d+\.\d+, v1\.7\.\d+$/);
  assert.match(gvisor ?? '', /^release-\d{8}\.\d, release-\d{8}\.\d, release-\d{8}\.\d$/);
});
