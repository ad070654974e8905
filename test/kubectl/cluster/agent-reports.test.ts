import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type NodeRow, nodeColumns } from '../../../kubectl/commands/nodes.ts';
import { forbidden, refusal, type StubResponse } from '../fake-api.ts';
import { AGENT_PODS, openFleet, setNode, setReport } from '../fleet.ts';
import { agentObject, agentStatus, LABEL_DOMAIN, nodeObject, podObject } from '../fleet-objects.ts';

const LONG = 'x'.repeat(2_000);
const REPORT = `${AGENT_PODS}/agent-node-1:9477/proxy/report`;

/** A fleet with pod a on node-1 and pod b on node-2; `isUnknown` asserts that only the runtime of a is unknown, and why. */
async function twoPods(t: TestContext) {
  const fleet = await openFleet(t);
  const { api, run } = fleet;
  const spec = { runtimeClassName: 'gvisor' };
  api.list('/api/v1/namespaces/eval/pods', [
    podObject('a', spec),
    podObject('b', { ...spec, nodeName: 'node-2' }),
  ]);
  setReport(api, 'node-2', agentStatus('node-2', { inside: ['b'] }));
  const isUnknown = async (why: string, flags = '') => {
    const { code, out, err } = await run(`pods${flags}`);
    assert.equal(code, 2, why);
    assert.match(out, /^a +\? .*\nb +yes /m, why);
    assert.ok(err.includes(`What 1 pod runs in is unknown: ${why}`), err);
  };
  return { ...fleet, isUnknown };
}

const whyNode = async ({ run }: Awaited<ReturnType<typeof openFleet>>) =>
  (await run('why node/node-1')).out.replace(/\s+/g, ' ');

describe('the report of an agent', () => {
  const text = (status: number, body: string) => ({ status, body, type: 'text/plain' });
  const FAILURES: Readonly<Record<string, readonly [StubResponse, error: string]>> = {
    'the API server does not reach it': [
      refusal(503, 'error trying to reach service: i/o timeout'),
      'the API server does not reach the agent: error trying to reach service: i/o timeout',
    ],
    'it has not evaluated the node': [text(503, 'no evaluation yet\n'), 'no evaluation yet'],
    'it does not know the path': [text(404, 'known paths: /\n'), 'the agent answers 404: known paths: /'],
    'it does not send JSON': [text(200, 'hello'), 'the agent on node-1 sent no report: Unexpected token'],
    'it reports another node': [
      text(200, JSON.stringify(agentStatus('node-2'))),
      'the agent on node-1 reports another node, "node-2"',
    ],
  };
  for (const [what, [response, error]] of Object.entries(FAILURES))
    it(`is unavailable when ${what}`, async (t) => {
      const fleet = await twoPods(t);
      fleet.api.stubs.set(REPORT, response);
      await fleet.isUnknown(error);
      assert.ok((await whyNode(fleet)).includes(`its report is unavailable: ${error}`));
    });

  it('is unavailable when the port is closed or silent', async (t) => {
    const { api, isUnknown } = await twoPods(t);
    api.stubs.delete(REPORT);
    await isUnknown('the agent on node-1 sent no report: connection refused.');
    for (const silent of [REPORT, `${AGENT_PODS}/agent-node-1/portforward`]) {
      api.stubs.set(silent, null);
      await isUnknown('the agent on node-1 sent no report: no response within 2 s.', ' --request-timeout 2s');
    }
  });
});

it('reads a report through the proxy of the API server if containerd serves no port-forward', async (t) => {
  const fleet = await twoPods(t);
  setReport(fleet.api, 'node-1', agentStatus('node-1', { inside: ['a'] }));
  fleet.api.stubs.set(
    `${AGENT_PODS}/agent-node-1/portforward`,
    refusal(500, 'error forwarding port 9477: timed out'),
  );
  assert.match((await fleet.run('pods')).out, /^a +yes /m);
});

describe('the agent of a compromised node', () => {
  it('cannot fill the memory with a report that unpacks to much more than was sent', async (t) => {
    const { api, isUnknown } = await twoPods(t);
    const body = `${' '.repeat(4 * 2 ** 20)}${JSON.stringify(agentStatus('node-1', { inside: ['a'] }))}`;
    api.stubs.set(REPORT, { status: 200, body, gzip: true });
    await isUnknown('the agent on node-1 sent no report: the response is too long.');
  });

  it('cannot pretend that the user lacks a permission', async (t) => {
    const fleet = await twoPods(t);
    setReport(fleet.api, 'node-1', forbidden('create', 'pods/portforward', 'gvisor-ready'));
    await fleet.isUnknown('the agent on node-1 answers 403, and others do not.');
  });

  it('breaks no command with a report of another shape', async (t) => {
    const fleet = await twoPods(t);
    for (const body of ['null', JSON.stringify({ ...agentStatus('node-1'), verdict: null })]) {
      setReport(fleet.api, 'node-1', { status: 200, body });
      await fleet.isUnknown('the response of the agent on node-1 is not a report.');
    }
    assert.match(
      await whyNode(fleet),
      /its report is unavailable: the response of the agent on node-1 is not a report/,
    );
  });

  it('is read up to 4 MiB', async (t) => {
    const { api, isUnknown } = await twoPods(t);
    const body = JSON.stringify(agentStatus('node-1', { inside: ['a'] })).padEnd(4 * 2 ** 20 + 1);
    setReport(api, 'node-1', { status: 200, body });
    await isUnknown('the agent on node-1 sent no report: the response is too long.');
  });

  it('prints at most 300 characters', async (t) => {
    const fleet = await openFleet(t);
    const { api } = fleet;
    for (const response of [
      { status: 503, body: LONG },
      { status: 404, body: LONG },
      refusal(503, LONG),
      { status: 200, body: JSON.stringify({ ...agentStatus('node-1'), node: LONG }) },
    ]) {
      setReport(api, 'node-1', response);
      assert.match(await whyNode(fleet), /[ "]x{300}[ "]/, response.body.slice(0, 20));
    }
    setReport(api, 'node-1', { status: 503, body: JSON.stringify({ kind: 'Status', message: [LONG] }) });
    const text = await whyNode(fleet);
    assert.match(text, /its report is unavailable: \{"kind":"Status","message":\["x{270}/);
    assert.doesNotMatch(text, /x{300}/);
    api.list(AGENT_PODS, [agentObject('node-1', { ready: false })]);
    setReport(api, 'node-1', agentStatus('node-1'));
    api.stubs.set(`${AGENT_PODS}/agent-node-1:9477/proxy/readyz`, { status: 503, body: LONG });
    assert.match(await whyNode(fleet), /is not Ready: x{300} /);
  });
});

describe('the kubelet of a compromised node', () => {
  it('cannot pass a mirror pod off as an agent', async (t) => {
    const { api, run } = await openFleet(t);
    const owned = (node: string, ...ownerReferences: readonly object[]) => ({
      ...agentObject(node),
      metadata: { name: `agent-${node}`, ownerReferences },
    });
    api.list(AGENT_PODS, [
      owned('node-1'),
      owned('node-2', { kind: 'Node', controller: true }),
      owned('node-3', { kind: 'DaemonSet', controller: false }, { kind: 'Node', controller: true }),
    ]);
    const { nodes } = JSON.parse((await run('nodes -o json')).out) as { nodes: { agent: unknown }[] };
    assert.deepEqual(
      nodes.map(({ agent }) => agent),
      [null, null, null],
    );
  });

  it('cannot widen the rows of other nodes', async (t) => {
    const { api, run } = await openFleet(t);
    const node = nodeObject('node-2', { reason: LONG, message: LONG, runtime: LONG });
    const annotations = { [`${LABEL_DOMAIN}/proven-by`]: `${LONG}+1` };
    setNode(api, { ...node, metadata: { ...node.metadata, annotations } });
    api.list(AGENT_PODS, [
      agentObject('node-1'),
      agentObject('node-2', { waiting: LONG }),
      agentObject('node-3'),
    ]);
    const { nodes } = JSON.parse((await run('nodes -o json')).out) as {
      nodes: { name: string; condition: { reason: string }; provenBy: string; runtime: string }[];
    };
    const other = nodes.find(({ name }) => name === 'node-2');
    const texts = [other?.condition.reason, other?.provenBy, other?.runtime];
    assert.deepEqual(
      texts.map((text) => text?.length),
      [64, 64, 64],
    );
    assert.match((await run('nodes')).out, /^node-2 +Ready +yes +true +x{64} +5m +x{64} +release/m);
  });

  it('cannot break colours with an unknown status', () => {
    const row = { label: 'constructor', status: 'constructor', reason: '', agent: '?', ready: true };
    const colors = nodeColumns(0, []).map(({ color }) => color?.(row as NodeRow));
    assert.deepEqual(colors.slice(0, 5), Array(5).fill(undefined));
  });
});
