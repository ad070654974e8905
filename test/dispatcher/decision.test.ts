import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { runAll } from '../../hack/run.ts';

test("the tests of the dispatcher's pure part pass", { timeout: 600_000 }, async () => {
  const words = ['-B', '-m', 'unittest', 'discover', '-s', 'test/dispatcher'];
  const { code, stderr } = await runAll(await ensurePython(), words, { cwd: REPO });
  assert.equal(code, 0, stderr);
  assert.ok(Number(/^Ran (\d+) tests/m.exec(stderr)?.[1]) >= 11, stderr);
});
