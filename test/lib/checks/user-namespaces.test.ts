import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkUserNamespaces } from '../../../lib/checks/user-namespaces.ts';
import { outcome } from '../../agent/checks/fake-node.ts';
import { tempHost } from '../host/temp-host.ts';

const FILE = '/proc/sys/user/max_user_namespaces';

describe('user-namespaces', () => {
  for (const [value, expected] of [
    ['0', 'error UserNamespacesDisabled'],
    ['1', 'error UserNamespacesDisabled'],
    ['2', 'warning UserNamespacesDisabled'],
    ['255', 'warning UserNamespacesDisabled'],
    ['256', 'pass'],
  ] as const) {
    it(`judges ${value}: ${expected}`, async (t) => {
      const host = await tempHost(t, { [FILE]: `${value}\n` });
      assert.equal(outcome(await checkUserNamespaces(host)), expected);
    });
  }

  it('fails for a kernel without them, and throws without /proc/sys', async (t) => {
    const without = await tempHost(t, { '/proc/sys/kernel/osrelease': '6.1.0' });
    assert.equal(outcome(await checkUserNamespaces(without)), 'error UserNamespacesDisabled');
    await assert.rejects(checkUserNamespaces(await tempHost(t)), /\/proc\/sys is not there/);
  });

  it('throws for a value that is not a number', async (t) => {
    for (const text of ['', 'many']) {
      const host = await tempHost(t, { [FILE]: text });
      await assert.rejects(checkUserNamespaces(host), /Cannot read a number/);
    }
  });
});
