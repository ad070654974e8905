import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';
import { summaryLines, surroundings } from '../summary.ts';

const MACHINE = ['machine', 'Linux 6.18'];

test('a run that passed ends with what it ran on, its tiers, and that all passed', () => {
  const tally = { tests: 412, failed: [] };
  const results = [
    { name: 'unit', passed: true, seconds: 118, tally },
    { name: 'integration', passed: true, seconds: 300, tally },
  ];
  assert.deepEqual(summaryLines([MACHINE], results), [
    'machine      Linux 6.18',
    'unit         passed, 412 tests, 118 s',
    'integration  passed, 412 tests, 300 s',
    'All of unit, integration passed.',
  ]);
});

test('what failed stands in the last lines, also where the tests did not come to their end', () => {
  const failed = ['test/e2e/a.test.ts', 'test/e2e/b.test.ts'];
  const results = [
    { name: 'e2e', passed: false, seconds: 9, tally: { tests: 3, failed } },
    { name: 'vm', passed: false, seconds: 1, tally: undefined },
  ];
  assert.deepEqual(summaryLines([MACHINE], results).slice(1), [
    'e2e      FAILED, 3 tests, 9 s',
    'vm       FAILED, unknown number of tests, 1 s',
    'Failed: e2e, vm.',
    ...failed.map((file) => `  ${file}`),
  ]);
});

test('a cluster adds the versions that its programs are stamped with', async () => {
  assert.deepEqual(
    (await surroundings(false, false)).map(([what]) => what),
    ['machine'],
  );
  const [, cluster, gvisor] = (await surroundings(true, false)).map(([, text]) => text);
  assert.match(cluster ?? '', /^Kubernetes v1\.\d+\.\d+, containerd v2\.\d+\.\d+ and v1\.7\.\d+$/);
  assert.match(gvisor ?? '', /^release-\d{8}\.\d, release-\d{8}\.\d, release-\d{8}\.\d$/);
});

test('the tally counts tests and names the files that failed, one that cannot be loaded among them', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'tally-test-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const head = "import { test } from 'node:test';";
  writeFileSync(join(dir, 'good.mjs'), `${head} test('a', () => {}); test('b', () => {});`);
  writeFileSync(join(dir, 'bad.mjs'), `${head} test('a', () => { throw new Error('no'); });`);
  writeFileSync(
    join(dir, 'todo.mjs'),
    `${head} test('a', { todo: true }, () => { throw new Error('no'); });`,
  );
  writeFileSync(join(dir, 'unloadable.mjs'), "throw new Error('no');");
  const { NODE_TEST_CONTEXT: _inherited, ...env } = process.env;
  const files = ['good', 'bad', 'todo', 'unloadable'].map((name) => join(dir, `${name}.mjs`));
  const args = ['--import', 'tsx', '--test', '--test-reporter=./test/reporter.ts', ...files];
  const { code, stdout } = await runAll(process.execPath, args, { cwd: REPO, env });
  assert.equal(code, 1);
  const failed = ['bad', 'unloadable'].map((name) => relative(REPO, join(dir, `${name}.mjs`)));
  assert.deepEqual(JSON.parse(stdout), { tests: 5, failed });
});
