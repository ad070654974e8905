import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { patient, runAll } from '../../hack/run.ts';

const newest = await ensurePython();
const oldest = await ensurePython('oldest');
const files = globSync('test_*.py', { cwd: `${REPO}/test/dispatcher` });

const runs = [
  ...files.map((file) => ({ title: file, file, python: newest, kind: '' })),
  // The clients' versions differ in the two transports, which these files use in every way.
  { title: 'test_async.py, oldest clients', file: 'test_async.py', python: oldest, kind: '' },
  { title: 'test_faults.py, oldest clients', file: 'test_faults.py', python: oldest, kind: '' },
  { title: 'test_faults.py, asyncio', file: 'test_faults.py', python: newest, kind: 'asyncio' },
];

// Concurrent, because they mostly wait; not all at once, because some have deadlines.
describe('the Python tests of the dispatcher', { concurrency: 6 }, () => {
  for (const { title, file, python, kind } of runs) {
    it(title, { timeout: patient(600_000) }, async () => {
      const args = ['-B', '-m', 'unittest', file.replace('.py', '')];
      const paths = `${REPO}/dispatcher:${REPO}/test/dispatcher`;
      const env = { ...process.env, PYTHONPATH: paths, GVISOR_DISPATCH_TESTS: kind };
      const { code, stderr } = await runAll(python, args, { env, timeoutMs: 600_000 });
      assert.equal(code, 0, stderr);
      assert.ok(Number(/^Ran (\d+) tests/m.exec(stderr)?.[1]) >= 2, stderr);
    });
  }
});
