import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireName, requireRoot } from '../../../cluster/machine/host-checks.ts';

test('only root on Linux may make clusters, and the others are told what to do', () => {
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

test('the name of a cluster is short and plain', () => {
  for (const name of ['dev', 'a', '0-9', 'x'.repeat(20)]) requireName(name);
  for (const name of ['', 'Dev', '../x', 'a b', 'x'.repeat(21)]) {
    assert.throws(() => requireName(name), { name: 'UsageError' }, name);
  }
});
