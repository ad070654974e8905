import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import { AGENT_PODS, openFleet, setNode } from '../fleet.ts';
import { agentObject, nodeObject, UNJUDGED } from '../fleet-objects.ts';

/** A fleet whose node-2 left the DaemonSet, and a Node that a patch of its status cleans. */
async function leftFleet(t: TestContext) {
  const fleet = await openFleet(t);
  const { api } = fleet;
  api.list(AGENT_PODS, [agentObject('node-1'), agentObject('node-3')]);
  t.mock.method(timers, 'setTimeout', async () => {});
  api.stubs.set('/api/v1/nodes/node-2/status', () => {
    setNode(api, nodeObject('node-2', UNJUDGED));
    return nodeObject('node-2', UNJUDGED);
  });
  return fleet;
}

describe('clean', () => {
  it('removes label, annotations and condition of a node that left, after confirmation', async (t) => {
    const { api, run } = await leftFleet(t);
    const { code, out } = await run('clean node-2', { confirm: async () => true });
    assert.equal(code, 0, out);
    assert.match(out, /^1 of 1 node to clean\nThis removes .* from node-2 .*\nnode-2: cleaned\n$/);
    const [{ metadata, status }] = api.patched as [{ metadata: Record<string, object>; status: object }];
    assert.equal(Object.values(metadata.labels ?? {}).length, 4);
    assert.deepEqual(status, { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] });
    const again = await run('clean node-2 --yes');
    assert.deepEqual([again.code, again.out, api.patched.length], [0, '0 of 1 node to clean\n', 1]);
  });

  it('cleans the nodes that -l selects', async (t) => {
    const { api, run } = await leftFleet(t);
    api.list('/api/v1/nodes?labelSelector=pool=old', [nodeObject('node-2')]);
    const { code, out } = await run('clean -l pool=old --yes');
    assert.equal(code, 0, out);
    assert.match(out, /^1 of 1 node to clean\nnode-2: cleaned\n$/);
  });

  it('writes nothing where an agent is still there, even one that terminates or does not run', async (t) => {
    const { api, run } = await leftFleet(t);
    const agent = agentObject('node-2');
    const terminating = {
      ...agent,
      metadata: { ...agent.metadata, deletionTimestamp: '2026-03-01T11:59:59Z' },
    };
    for (const pod of [agent, terminating, agentObject('node-2', { waiting: 'ErrImagePull' })]) {
      api.list(AGENT_PODS, [pod]);
      api.list('/api/v1/nodes?labelSelector=pool=old', [nodeObject('node-1'), nodeObject('node-2')]);
      for (const argv of ['clean node-1 node-2 --yes', 'clean -l pool=old --yes']) {
        const { code, err } = await run(argv);
        assert.equal(code, 1, argv);
        assert.match(
          err,
          /^An agent is still on node-2 and would write again, so nothing was written\. First take it out/,
        );
      }
    }
    assert.deepEqual(api.patched, []);
  });

  it('rejects wrong usage', async (t) => {
    const { api, run } = await leftFleet(t);
    for (const [argv, code, error] of [
      ['clean node-2', 64, /^There is no terminal to ask on: --yes removes labels/],
      ['clean', 64, /^Name the nodes, or select them with -l, and not both/],
      ['clean node-2 -l a=b', 64, /^Name the nodes/],
      ['clean node-2 gone --yes', 2, /^There is no node "gone", so nothing was written/],
    ] as const) {
      const result = await run(argv);
      assert.match(result.err, error);
      assert.equal(result.code, code, argv);
    }
    assert.deepEqual(api.patched, []);
  });
});
