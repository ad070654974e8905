import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkUserNamespaces } from '../../../../lib/node/checks/user-namespaces.ts';
import { outcomeOf, sourcesWith } from './fake-node.ts';

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
      const sources = await sourcesWith(t, { [FILE]: `${value}\n` });
      assert.equal(await outcomeOf(checkUserNamespaces, sources), expected);
    });
  }

  it('fails for a kernel without them, and throws without /proc/sys', async (t) => {
    const without = await sourcesWith(t, { '/proc/sys/kernel/osrelease': '6.1.0' });
    assert.equal(await outcomeOf(checkUserNamespaces, without), 'error UserNamespacesDisabled');
    await assert.rejects(
      outcomeOf(checkUserNamespaces, await sourcesWith(t, {})),
      /\/proc\/sys is not there/,
    );
  });

  it('throws for a value that is not a number', async (t) => {
    for (const text of ['', 'many']) {
      const sources = await sourcesWith(t, { [FILE]: text });
      await assert.rejects(outcomeOf(checkUserNamespaces, sources), /Cannot read a number/);
    }
  });
});
