import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { userNamespaces } from '../../../agent/checks/user-namespaces.ts';
import { tempHost } from '../host/temp-host.ts';
import { inspect, outcome, outcomeOf, sourcesOf } from './fake-node.ts';

const FILE = '/proc/sys/user/max_user_namespaces';

describe('user-namespaces', () => {
  const VALUES: readonly (readonly [string, string])[] = [
    ['0\n', 'error UserNamespacesDisabled'],
    ['1\n', 'error UserNamespacesDisabled'],
    ['2\n', 'warning UserNamespacesDisabled'],
    ['255\n', 'warning UserNamespacesDisabled'],
    ['256\n', 'pass'],
    ['11255\n', 'pass'],
  ];
  for (const [value, expected] of VALUES) {
    it(`judges ${value.trim()}: ${expected}`, async (t) => {
      const host = await tempHost(t, { [FILE]: value });
      assert.equal(await outcomeOf(userNamespaces, sourcesOf('', { host })), expected);
    });
  }

  it('fails for a kernel without them, and throws without /proc/sys', async (t) => {
    const host = await tempHost(t, { '/proc/sys/kernel/osrelease': '6.1.0' });
    const seen = await inspect(userNamespaces, sourcesOf('', { host }));
    assert.equal(outcome(seen), 'error UserNamespacesDisabled');
    const empty = sourcesOf('', { host: await tempHost(t) });
    await assert.rejects(inspect(userNamespaces, empty), /\/proc\/sys is not there/);
  });

  it('throws for a value that is not a number', async (t) => {
    for (const text of ['', 'many']) {
      const host = await tempHost(t, { [FILE]: text });
      await assert.rejects(inspect(userNamespaces, sourcesOf('', { host })), /Cannot read a number/);
    }
  });
});
