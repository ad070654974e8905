import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type NodeRow, nodeColumns } from '../../kubectl/nodes.ts';
import { faults } from './check-faults.ts';
import { forbidden, refusal } from './fake-api.ts';
import { setNode, tell } from './fleet.ts';
import { agentOf, DOMAIN, nodeOf, podOf, statusOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

const AGENTS = '/api/v1/namespaces/gvisor-ready/pods';
const LONG = 'x'.repeat(2_000);

/** A fleet with a pod on node-1, which was taken over, and one on node-2, which is honest. */
async function takenOver(t: TestContext) {
  const fleet = await openFleet(t);
  const { api, run } = fleet;
  const spec = { runtimeClassName: 'gvisor' };
  api.list('/api/v1/namespaces/eval/pods', [podOf('a', spec), podOf('b', { ...spec, nodeName: 'node-2' })]);
  tell(api, 'node-2', statusOf('node-2', { inside: ['b'] }));
  /** Node-1 alone is dark in `pods`, and that is why. */
  const isDark = async (why: RegExp, message?: string) => {
    const { code, out, err } = await run('pods');
    assert.equal(code, 2, message);
    assert.match(out, /^a +\? .*\nb +yes /m, message);
    assert.match(err, why, message);
  };
  return { ...fleet, isDark };
}

describe('an agent of a node that was taken over', () => {
  it('cannot say that the user may not ask the others', async (t) => {
    const fleet = await takenOver(t);
    tell(fleet.api, 'node-1', forbidden('get', 'pods/proxy', 'gvisor-ready'));
    await fleet.isDark(
      /^It is not known what 1 pod runs in: the agent on node-1 answers 403, and others do not\.$/m,
    );
    assert.ok(
      (await faults(fleet)).lines.includes(
        'unknown: It is not known what eval/a runs in: the agent on node-1 answers 403, and others do not',
      ),
    );
  });

  const SHAPES: readonly (readonly [what: string, change: object])[] = [
    ['no name of a node', { node: 1 }],
    ['no verdict', { verdict: null }],
    ['a message that is none', { verdict: { status: 'True', reason: 'SandboxProven', message: {} } }],
    ['no time of its look', { look: {} }],
    ['a time that is none', { provenAt: 7 }],
    ['findings that are none', { findings: {} }],
    ['a finding that is none', { findings: [null] }],
    ['a fault without reason', { findings: [{ check: 'shim', status: 'fail', message: 'm' }] }],
    ...[{}, [{}], [{ value: 'v', file: {} }], [{ value: 'v', line: { toString: 1 } }]].map(
      (evidence) =>
        [
          `the evidence ${JSON.stringify(evidence)}`,
          { findings: [{ check: 'shim', status: 'pass', message: 'm', evidence }] },
        ] as const,
    ),
    ['no proof', { proof: undefined }],
    ['no pods', { pods: null }],
    ['pods without lists', { pods: {} }],
    ...[
      { untold: 'text' },
      { allowed: 5 },
      { inside: 5 },
      { weakened: [{ uid: 'uid-a', evidence: 'e' }] },
      { weakened: [{ uid: 'uid-a', evidence: 'e', weak: [null] }] },
      { at: 5 },
      { forbidden: [{ evidence: 'e' }] },
      { forbidden: [{ uid: 'uid-a' }] },
    ].map((pods) => [JSON.stringify(pods), { pods: { ...statusOf('node-1').pods, ...pods } }] as const),
  ];
  it('ends no command with a report of another shape', async (t) => {
    const { api, run, isDark } = await takenOver(t);
    for (const [what, change] of [['nothing', null] as const, ...SHAPES]) {
      const report = change && { ...statusOf('node-1', { inside: ['a'] }), ...change };
      tell(api, 'node-1', { status: 200, body: JSON.stringify(report) });
      await isDark(/runs in: what the agent on node-1 tells is no report\.$/m, what);
      const { out } = await run('why node/node-1');
      assert.match(
        out.replace(/\s+/g, ' '),
        /its report is not here: what the agent on node-1 tells is no report/,
        what,
      );
    }
  });

  it('is shown even with words that nobody knows', async (t) => {
    const { api, run } = await openFleet(t);
    const { proof } = statusOf('node-1');
    tell(api, 'node-1', {
      ...statusOf('node-1'),
      findings: [{ check: 'shim', status: 'odd', message: 'new' }],
      proof: { ...proof, kind: 'constructor', message: 'm' },
    });
    const { out } = await run('why node/node-1');
    assert.match(out, /^ {2}\? shim: new\n {2}\? proof: m$/m);
  });

  it('is not read for longer than 4 MiB', async (t) => {
    const { api, isDark } = await takenOver(t);
    const report = JSON.stringify(statusOf('node-1', { inside: ['a'] }));
    tell(api, 'node-1', { status: 200, body: report.padEnd(4 * 2 ** 20 + 1) });
    await isDark(/runs in: the agent on node-1 gave no report: the answer is too long\.$/m);
  });

  it('gets no more than 300 characters of an answer to the terminal', async (t) => {
    const { api, run } = await openFleet(t);
    const why = async () => (await run('why node/node-1')).out.replace(/\s+/g, ' ');
    for (const answer of [
      { status: 503, body: LONG },
      { status: 404, body: LONG },
      refusal(503, LONG),
      { status: 200, body: JSON.stringify({ ...statusOf('node-1'), node: LONG }) },
    ]) {
      tell(api, 'node-1', answer);
      assert.match(await why(), /[ "]x{300}[ "]/, answer.body.slice(0, 20));
    }
    tell(api, 'node-1', { status: 503, body: JSON.stringify({ kind: 'Status', message: [LONG] }) });
    assert.match(await why(), /its report is not here: \{"kind":"Status","message":\["x{270}/);
    assert.doesNotMatch(await why(), /x{300}/);
    api.list(AGENTS, [agentOf('node-1', { ready: false })]);
    tell(api, 'node-1', statusOf('node-1'));
    api.behind.set(`${AGENTS}/agent-node-1:9477/proxy/readyz`, { status: 503, body: LONG });
    assert.match(await why(), /is not Ready: x{300} /);
  });
});

describe('a kubelet of a node that was taken over', () => {
  it('makes no agent of a mirror pod', async (t) => {
    const { api, run } = await openFleet(t);
    const owned = (node: string, ...ownerReferences: readonly object[]) => ({
      ...agentOf(node),
      metadata: { name: `agent-${node}`, ownerReferences },
    });
    api.list(AGENTS, [
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

  it('does not pad the rows of other nodes', async (t) => {
    const { api, run } = await openFleet(t);
    const node = nodeOf('node-2', { reason: LONG, message: LONG, runtime: LONG });
    const annotations = { [`${DOMAIN}/proven-by`]: `${LONG}+1` };
    setNode(api, { ...node, metadata: { ...node.metadata, annotations } });
    api.list(AGENTS, [agentOf('node-1'), agentOf('node-2', { waiting: LONG }), agentOf('node-3')]);
    const { nodes } = JSON.parse((await run('nodes -o json')).out) as { nodes: Record<string, string>[] };
    const { reason, message, provenBy, runtime } = nodes[1] ?? {};
    assert.deepEqual(
      [reason, message, provenBy, runtime].map((text) => text?.length),
      [64, 512, 64, 64],
    );
    assert.match((await run('nodes')).out, /^node-2 +true +x{64} +5m +x{64} +release/m);
  });

  it('ends no coloured table with a word that nobody knows', () => {
    const row = { ready: 'constructor', status: 'constructor', reason: '', agent: '?' } as NodeRow;
    const colors = nodeColumns(0).map(({ color }) => color?.(row));
    assert.deepEqual(colors.slice(0, 3), [undefined, undefined, undefined]);
  });
});
