import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run, runAll, waitFor } from '../../hack/run.ts';

test("a program's output is given, and its failure holds what it said last", async () => {
  assert.equal(await run('cat', [], { input: 'text' }), 'text');
  assert.equal((await runAll('sh', ['-c', 'exit 3'])).code, 3);
  await assert.rejects(run('sh', ['-c', 'echo why >&2; exit 1']), /ended with 1: why$/);
  await assert.rejects(run('no-such-program', []), /Cannot run "no-such-program"/);
});

test('a deadline holds also when a grandchild keeps the output open', { timeout: 10_000 }, async () => {
  await assert.rejects(run('sh', ['-c', 'sleep 20 & wait'], { timeoutMs: 50 }), /did not end within 50 ms/);
});

test('waiting gives what was seen, and after its deadline the last error', async () => {
  let looks = 0;
  assert.equal(await waitFor('the third look', 5_000, async () => (++looks === 3 ? looks : undefined), 1), 3);
  await assert.rejects(
    waitFor('nothing', 5, () => Promise.reject(new Error('not yet')), 1),
    /^Error: Waited 0\.005 s for nothing in vain: not yet$/,
  );
});
