import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tryLock, waitForLock } from '../../../cluster/plan/lock.ts';
import { REPO } from '../../../hack/paths.ts';
import { run } from '../../../hack/run.ts';

const NAME = `lock-test-${process.pid}`;

test('one process holds a lock, until it releases it or ends', async () => {
  const inChild = async () => {
    const script = `import { tryLock, waitForLock } from './cluster/plan/lock.ts';
      console.log((await tryLock('${NAME}')) !== undefined);`;
    const args = ['--input-type=module', '-e', script];
    return (await run(process.execPath, args, { cwd: REPO })).trim();
  };
  assert.equal(await inChild(), 'true');
  const release = await tryLock(NAME);
  assert.ok(release);
  assert.equal(await inChild(), 'false');
  release();
  assert.equal(await inChild(), 'true');
});

test('a run that waits has the lock once the other has released it', async () => {
  const release = await tryLock(NAME);
  assert.ok(release);
  const waits = waitForLock(NAME, 'is a test');
  release();
  (await waits)();
  assert.ok(await tryLock(NAME));
});
