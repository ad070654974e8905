import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../../hack/run.ts';

test('times out although a grandchild keeps the output open', async () => {
  await assert.rejects(run('sh', ['-c', 'sleep 20 & wait'], { timeoutMs: 50 }), /did not end within \d+ ms$/);
});
