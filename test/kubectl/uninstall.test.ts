import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DAEMON_SET, setNode } from './fleet.ts';
import { nodeOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

/** A fleet whose DaemonSet is gone; patches take the labels away, unless the agent is said to be faster. */
async function leftover(t: Parameters<typeof openFleet>[0], agentWrites = false) {
  const fleet = await openFleet(t);
  const { api } = fleet;
  api.behind.delete(DAEMON_SET);
  for (const name of ['node-1', 'node-2']) {
    const node = nodeOf(name);
    api.behind.set(`/api/v1/nodes/${name}`, node);
    api.behind.set(`/api/v1/nodes/${name}/status`, () => {
      if (!agentWrites) setNode(api, nodeOf(name, { ready: '', status: '' }));
      return node;
    });
  }
  setNode(api, nodeOf('node-3', { ready: '', status: '' }));
  return fleet;
}

describe('uninstall', () => {
  it('asks, and takes off what agents wrote', async (t) => {
    const { api, run } = await leftover(t);
    let asked = '';
    const ask = async (question: string) => {
      asked = question;
      return true;
    };
    const { code, out } = await run('uninstall', { ask });
    assert.equal(code, 0, out);
    assert.equal(asked, 'Go on? [y/N] ');
    assert.match(
      out,
      /^This takes labels, annotations, taint and condition of the agents off node-1, node-2 \(context "fake"\)\. /m,
    );
    assert.match(out, /^3 nodes, 2 of them with something of the agents\n/);
    assert.match(out, /node-1: cleaned/);
    assert.equal(api.patched.length, 2);
  });

  it('writes nothing unless a person agrees', async (t) => {
    const { api, run } = await leftover(t);
    assert.equal((await run('uninstall', { ask: async () => false })).code, 1);
    const { code, err } = await run('uninstall');
    assert.equal(code, 64);
    assert.match(err, /^Nobody can be asked here: --yes takes labels/);
    assert.deepEqual(api.patched, []);
  });

  it('does not ask with --yes, and ends when nothing is left', async (t) => {
    const { api, run } = await leftover(t);
    assert.equal((await run('uninstall --yes')).code, 0);
    api.patched.length = 0;
    const again = await run('uninstall --yes');
    assert.deepEqual(
      [again.code, again.out, api.patched.length],
      [0, '3 nodes, 0 of them with something of the agents\n', 0],
    );
  });

  it('writes nothing while agents run', async (t) => {
    const { api, run } = await openFleet(t);
    const { code, err } = await run('uninstall --yes');
    assert.equal(code, 1);
    assert.match(err, /First: kubectl -n gvisor-ready delete daemonset gvisor-ready-agent$/m);
    assert.deepEqual(api.patched, []);
  });

  it('says when an agent has written again, or a node cannot be written', async (t) => {
    const faster = await (await leftover(t, true)).run('uninstall --yes');
    assert.equal(faster.code, 1);
    assert.match(faster.out, /node-1: written again by an agent that still runs/);
    const { api, run } = await leftover(t);
    api.behind.set('/api/v1/nodes/node-1/status', {
      status: 403,
      body: '{"message":"nodes \\"node-1\\" is forbidden"}',
    });
    const { code, err } = await run('uninstall --yes');
    assert.equal(code, 2);
    assert.match(
      err,
      /^Not every node was written; run it again: The API server refuses PATCH \/api\/v1\/nodes\/node-1\/status: 403/,
    );
  });
});
