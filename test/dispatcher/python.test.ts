import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { runAll } from '../../hack/run.ts';

const python = await ensurePython();
const files = globSync('test_*.py', { cwd: `${REPO}/test/dispatcher` });

// Concurrent, because they mostly wait.
describe('the Python tests of the dispatcher', { concurrency: true }, () => {
  for (const file of files) {
    it(file, { timeout: 600_000 }, async () => {
      const args = ['-B', '-m', 'unittest', file.replace('.py', '')];
      const env = { ...process.env, PYTHONPATH: `${REPO}/dispatcher:${REPO}/test/dispatcher` };
      const { code, stderr } = await runAll(python, args, { env, timeoutMs: 600_000 });
      assert.equal(code, 0, stderr);
      assert.ok(Number(/^Ran (\d+) tests/m.exec(stderr)?.[1]) >= 3, stderr);
    });
  }
});
