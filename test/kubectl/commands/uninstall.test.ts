import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import { forbidden, refusal, type StubResponse } from '../fake-api.ts';
import { DAEMON_SET_PATH, openFleet, setNode } from '../fleet.ts';
import { LABEL_DOMAIN, nodeObject, UNJUDGED } from '../fleet-objects.ts';

/** A fleet without agents. A patch of a Node is refused as scripted, or cleans the Node. */
async function abandonedFleet(t: TestContext, script: (StubResponse | 'ignored')[] = []) {
  const fleet = await openFleet(t);
  const { api } = fleet;
  api.stubs.delete(DAEMON_SET_PATH);
  setNode(api, nodeObject('node-2', UNJUDGED));
  setNode(api, nodeObject('node-3', UNJUDGED));
  const pauses: number[] = [];
  t.mock.method(timers, 'setTimeout', async (ms: number) => void pauses.push(ms));
  api.stubs.set('/api/v1/nodes/node-1/status', () => {
    const next = script.shift();
    if (next !== 'ignored' && next?.status === 404)
      api.list('/api/v1/nodes', [nodeObject('node-2', UNJUDGED), nodeObject('node-3', UNJUDGED)]);
    if (next === undefined) setNode(api, nodeObject('node-1', UNJUDGED));
    return next === undefined || next === 'ignored' ? nodeObject('node-1', UNJUDGED) : next;
  });
  return { ...fleet, pauses };
}

describe('uninstall', () => {
  it('removes only the keys of agents, after confirmation', async (t) => {
    const { api, run } = await abandonedFleet(t);
    const node = nodeObject('node-1');
    const other = { key: 'other', effect: 'NoExecute' };
    const spec = { taints: [{ key: `${LABEL_DOMAIN}/not-ready`, effect: 'NoSchedule' }, other] };
    setNode(api, {
      ...node,
      metadata: {
        ...node.metadata,
        labels: { ...node.metadata.labels, [`${LABEL_DOMAIN}/ready-gone`]: 'true', team: 'a' },
        annotations: { ...node.metadata.annotations, [`${LABEL_DOMAIN}/proven-boot-gone`]: 'b', note: 'n' },
      },
      spec,
    });
    api.stubs.set('/api/v1/nodes/node-1/status', { ...nodeObject('node-1', UNJUDGED), spec });
    api.stubs.set('/api/v1/nodes/node-1', () => {
      setNode(api, nodeObject('node-1', UNJUDGED));
      return nodeObject('node-1', UNJUDGED);
    });
    const prompts: string[] = [];
    const confirm = async (prompt: string) => prompts.push(prompt) > 0;
    const { code, out } = await run('uninstall', { confirm });
    assert.equal(code, 0, out);
    assert.deepEqual(prompts, ['Go on? [y/N] ']);
    assert.match(
      out,
      /^1 of 3 nodes to clean\nThis removes labels, annotations, taint and condition of the agents from node-1 \(context "fake"\)\. [^\n]*\nnode-1: cleaned\n$/,
    );
    const names = ['ready', 'expected', 'runsc-version', 'platform', 'ready-gone'];
    const labels = Object.fromEntries(names.map((name) => [`${LABEL_DOMAIN}/${name}`, null]));
    assert.deepEqual(api.patched, [
      {
        metadata: {
          labels,
          annotations: { [`${LABEL_DOMAIN}/proven-by`]: null, [`${LABEL_DOMAIN}/proven-boot-gone`]: null },
        },
        status: { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] },
      },
      { metadata: { resourceVersion: '7' }, spec: { taints: [other] } },
    ]);
  });

  it('writes nothing without confirmation, or while agents run', async (t) => {
    const { api, run } = await abandonedFleet(t);
    const declined = await run('uninstall', { confirm: async () => false });
    assert.equal(declined.code, 1);
    assert.match(declined.out, /Nothing was written\.\n$/);
    const { code, err } = await run('uninstall');
    assert.equal(code, 64);
    assert.match(err, /^There is no terminal to ask on: --yes removes labels/);
    api.stubs.set(DAEMON_SET_PATH, {});
    const early = await run('uninstall --yes');
    assert.equal(early.code, 1);
    assert.match(early.err, /First: kubectl -n gvisor-ready delete daemonset gvisor-ready-agent$/m);
    assert.deepEqual(api.patched, []);
  });

  it('skips the confirmation with --yes, and writes nothing to clean nodes', async (t) => {
    const { api, run } = await abandonedFleet(t);
    assert.equal((await run('uninstall --yes')).code, 0);
    assert.equal(api.patched.length, 1);
    const again = await run('uninstall --yes');
    assert.deepEqual([again.code, again.out, api.patched.length], [0, '0 of 3 nodes to clean\n', 1]);
  });

  it('reads a Node again after a conflict, and honours Retry-After', async (t) => {
    const script = [refusal(409, 'modified'), refusal(429, 'slow down', '3')];
    const { api, run, pauses } = await abandonedFleet(t, script);
    const { code, out } = await run('uninstall --yes');
    assert.equal(code, 0, out);
    assert.deepEqual(pauses, [200, 3_000, 5_000]);
    assert.equal(api.requests.filter((each) => each === 'GET /api/v1/nodes/node-1').length, 2);
  });

  const RESPONSES: readonly (readonly [
    what: string,
    StubResponse | 'ignored',
    code: number,
    text: RegExp,
  ])[] = [
    ['a deleted Node as clean', refusal(404, 'not found'), 0, /^node-1: cleaned$/m],
    [
      'an agent that has written again',
      'ignored',
      1,
      /^node-1: written again by an agent that still runs: delete the DaemonSet/m,
    ],
    [
      'a refusal',
      forbidden('patch', 'nodes'),
      2,
      /^Not every node was written; run it again: The API server refuses PATCH \/api\/v1\/nodes\/node-1\/status: 403/m,
    ],
  ];
  for (const [what, response, expected, text] of RESPONSES)
    it(`reports ${what}`, async (t) => {
      const { run } = await abandonedFleet(t, [response]);
      const { code, out, err } = await run('uninstall --yes');
      assert.match(`${out}${err}`, text);
      assert.equal(code, expected);
    });

  it('gives up after five conflicts', async (t) => {
    const script = Array.from({ length: 5 }, () => refusal(409, 'modified'));
    const { run, pauses } = await abandonedFleet(t, script);
    assert.match((await run('uninstall --yes')).err, /409 modified$/m);
    assert.deepEqual(pauses, [200, 400, 600, 800]);
  });
});
