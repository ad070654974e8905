import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run, runAll, waitFor } from '../../hack/run.ts';

test('returns output, and reports the last lines of a failure', async () => {
  assert.equal(await run('cat', [], { input: 'text' }), 'text');
  assert.equal((await runAll('sh', ['-c', 'exit 3'])).code, 3);
  await assert.rejects(run('sh', ['-c', 'echo why >&2; exit 1']), /ended with 1: why$/);
  await assert.rejects(run('no-such-program', []), /Cannot run "no-such-program"/);
});

test('times out although a grandchild keeps the output open', async () => {
  await assert.rejects(run('sh', ['-c', 'sleep 20 & wait'], { timeoutMs: 50 }), /did not end within \d+ ms$/);
});

test('polls for a value, and reports the last error after a timeout', async () => {
  let polls = 0;
  assert.equal(await waitFor('the third poll', 5_000, async () => (++polls === 3 ? polls : undefined), 1), 3);
  await assert.rejects(
    waitFor('nothing', 5, () => Promise.reject(new Error('not yet')), 1),
    /^Error: Waited [\d.]+ s for nothing in vain: not yet$/,
  );
});
