import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { test } from 'node:test';
import { explainNodes, inotifyInstances, requireRoot } from '../../../cluster/machine/host-checks.ts';

test('only root on Linux may start clusters', () => {
  requireRoot({ platform: 'linux', uid: 0 });
  assert.throws(() => requireRoot({ platform: 'linux', uid: 1000 }), {
    name: 'UsageError',
    message: /with sudo/,
  });
  for (const platform of ['darwin', 'win32']) {
    assert.throws(() => requireRoot({ platform, uid: undefined }), {
      name: 'UsageError',
      message: new RegExp(`this is ${platform}: run it on a Linux machine`),
    });
  }
});

test('explains a failed node only if inotify instances are exhausted', async () => {
  const error = new Error('Waited 60 s for the nodes node-1 to be Ready in vain');
  const thrown = async (inUse: number) =>
    explainNodes(error, Promise.resolve({ max: 128, inUse })).catch((cause: Error) => cause);
  assert.equal(await thrown(100), error);
  const explained = await thrown(125);
  assert.equal(explained.cause, error);
  assert.match(
    explained.message,
    /^Waited 60 s .*; 125 of the 128 inotify .*: `sysctl fs.inotify.max_user_instances=512`, or/,
  );
  const watcher = watch('/proc');
  const { max, inUse } = await inotifyInstances();
  watcher.close();
  assert.ok(inUse >= 1 && inUse <= max, `${inUse} of ${max}`);
});
