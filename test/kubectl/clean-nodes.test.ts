import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { cleanNodes, findMarked } from '../../kubectl/uninstall.ts';
import { fakeApiServer, refusal } from '../agent/fake-api-server.ts';
import { mockPauses } from '../agent/node/publisher-of.ts';

const LIST = 'GET /api/v1/nodes?limit=200';
const NODE = 'PATCH /api/v1/nodes/node-1 application/merge-patch+json';
const STATUS = 'PATCH /api/v1/nodes/node-1/status application/strategic-merge-patch+json';

/** A Node that an agent has written, and whom somebody else has written too. */
async function writtenNode(t: TestContext) {
  const { server, kube } = await fakeApiServer(t);
  Object.assign(server.node, {
    labels: {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/platform': 'systrap',
      team: 'a',
    },
    annotations: {
      'gvisor.node-restriction.kubernetes.io/agent': 'x',
      'gvisor.node-restriction.kubernetes.io/proven-by': 'y',
      other: 'z',
    },
    taints: [
      { key: 'gvisor.node-restriction.kubernetes.io/not-ready', effect: 'NoSchedule' },
      { key: 'other', effect: 'NoExecute' },
    ],
    conditions: [
      { type: 'GVisorReady', status: 'True' },
      { type: 'Ready', status: 'True' },
    ],
  });
  const lines: string[] = [];
  const run = async (signal = AbortSignal.timeout(10_000)) => {
    const { marked } = await findMarked(kube, signal);
    return cleanNodes(marked, { kube, print: (line) => lines.push(line), settleMs: 0 }, signal);
  };
  return { server, run, lines };
}

describe('cleaning all nodes', () => {
  it('takes off a Node what agents wrote, and nothing else', async (t) => {
    const { server, run, lines } = await writtenNode(t);
    assert.equal(await run(), 0);
    assert.deepEqual(server.asked, [LIST, STATUS, NODE, LIST]);
    const { labels, annotations, taints, conditions } = server.node;
    assert.deepEqual(
      { labels, annotations, taints, conditions },
      {
        labels: { team: 'a' },
        annotations: { other: 'z' },
        taints: [{ key: 'other', effect: 'NoExecute' }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    );
    assert.deepEqual(lines, ['node-1: cleaned']);
  });

  it('writes nothing where there is nothing', async (t) => {
    const { server, run } = await writtenNode(t);
    await run();
    server.asked.length = 0;
    assert.equal(await run(), 0);
    assert.deepEqual(server.asked, [LIST]);
  });

  it('reads a Node anew that changed meanwhile, and waits when it is told to', async (t) => {
    const { server, run } = await writtenNode(t);
    const { pause } = mockPauses(t);
    const ends = run();
    server.script.push(
      { status: 200, body: JSON.stringify({ items: [server.node.whole] }) },
      refusal(409, 'the object has been modified'),
      { status: 200, body: JSON.stringify(server.node.whole) },
      refusal(429, 'slow down', { 'retry-after': '3' }),
    );
    (await pause(200)).end();
    (await pause(3_000)).end();
    (await pause(0, 2)).end();
    assert.equal(await ends, 0);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], undefined);
  });

  it('takes a Node that is gone for clean', async (t) => {
    const { server, run } = await writtenNode(t);
    server.script.push({ status: 200, body: JSON.stringify({ items: [server.node.whole] }) });
    server.script.push(refusal(404, 'not found'), { status: 200, body: '{"items":[]}' });
    assert.equal(await run(), 0);
  });

  it('tells when an agent that still runs has written again', async (t) => {
    const { server, run, lines } = await writtenNode(t);
    const written = structuredClone(server.node.whole);
    for (let time = 0; time < 3; time++) server.script.push({ status: 200, body: JSON.stringify(written) });
    server.script[0] = { status: 200, body: JSON.stringify({ items: [written] }) };
    server.script.push({ status: 200, body: JSON.stringify({ items: [written] }) });
    assert.equal(await run(), 1);
    assert.match(
      lines.at(-1) ?? '',
      /^node-1: written again by an agent that still runs: delete the DaemonSet/,
    );
  });

  it('goes through all pages', async (t) => {
    const { server, run } = await writtenNode(t);
    const page = (token: string) => JSON.stringify({ items: [], metadata: { continue: token } });
    server.script.push({ status: 200, body: page('a/b') }, { status: 200, body: page('') });
    assert.equal(await run(), 0);
    assert.deepEqual(server.asked, [LIST, `${LIST}&continue=a%2Fb`]);
  });

  it('gives up, with the rule that is missing', async (t) => {
    const { server, run } = await writtenNode(t);
    const words = 'User "u" cannot list resource "nodes" in API group "" at the cluster scope';
    server.script.push(refusal(403, `nodes is forbidden: ${words}`));
    await assert.rejects(run(), /kubectl auth can-i list nodes --as=u$/);
  });
});
