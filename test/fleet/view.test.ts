import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { viewFleet } from '../../fleet/view.ts';
import { nodeOf, podOn } from './fleet-course.ts';

const verdict = (status: string, reason: string) => ({ status, reason, message: 'm', since: '' });
const GVISOR = 'gvisor.node-restriction.kubernetes.io/runsc-version';

/** One node of each kind, in an order that a view must change. */
const NODES = [
  nodeOf('proven-10', { labels: { [GVISOR]: 'release-20260223.0' } }),
  nodeOf('proven-9', { labels: { [GVISOR]: 'release-20250203.0' } }),
  nodeOf('fresh', { label: '', verdict: undefined as never }),
  nodeOf('asleep', { ready: false, label: 'true' }),
  nodeOf('unsure', { label: 'false', verdict: verdict('Unknown', 'NotVisible') }),
  nodeOf('broken', { label: 'false', verdict: verdict('False', 'ShimNotFound') }),
  nodeOf('lost', { label: 'false', verdict: verdict('Unknown', 'AgentLost') }),
  nodeOf('alone'),
  nodeOf('windows', { os: 'windows' }),
].map(({ verdict: said, ...node }) => (said === undefined ? node : { ...node, verdict: said }));

const view = viewFleet({
  upToDate: true,
  nodes: NODES,
  pods: [
    ...NODES.filter(({ name }) => name !== 'alone').map(({ name }) => podOn(name)),
    podOn('alone', { ready: false }),
  ],
  agents: { observed: true, desired: 8, ready: 7 },
  statusOf: (node) => {
    if (node === 'proven-9') return { version: '0.1.0', provenAt: '2026-11-25T10:00:00Z' };
    return { version: '0.2.0', provenAt: '2026-11-25T11:00:00Z' };
  },
  breaker: ['TooManyLost'],
  paused: ['alone'],
});

describe('the view of a fleet', () => {
  it('counts releases by any name', () => {
    const names = ['__proto__', 'constructor', 'toString'];
    const nodes = names.map((name) => nodeOf(name, { labels: { [GVISOR]: name }, runtime: '' }));
    const { releases } = viewFleet({
      upToDate: true,
      nodes,
      pods: [],
      agents: undefined,
      statusOf: () => undefined,
      breaker: [],
      paused: [],
    });
    assert.deepEqual(
      Object.entries(releases.gvisor),
      names.map((name) => [name, 1]),
    );
  });

  it('has what needs a person first, and names in the order of their numbers', () => {
    const names = ['alone', 'lost', 'broken', 'unsure', 'asleep', 'fresh', 'proven-9', 'proven-10'];
    assert.deepEqual(
      view.nodes.map(({ name }) => name),
      names,
    );
  });

  it('counts every node once, and those of another system not at all', () => {
    assert.deepEqual(view.counts, { proven: 4, not: 1, unknown: 2, none: 1 });
    assert.deepEqual(view.withoutAgent, ['alone']);
    assert.deepEqual(view.agents, { desired: 8, ready: 7 });
  });

  it('tells the oldest proof, the releases, and why nothing is withdrawn', () => {
    assert.deepEqual(view.oldestProof, { node: 'proven-9', at: '2026-11-25T10:00:00Z' });
    assert.deepEqual(view.releases, {
      gvisor: { 'release-20250203.0': 1, 'release-20260223.0': 1 },
      containerd: { '2.1.4': 8 },
      agent: { '0.1.0': 1, '0.2.0': 7 },
    });
    assert.deepEqual([view.breaker.map(({ reason }) => reason), view.paused], [['TooManyLost'], ['alone']]);
  });

  it('takes the pod that is Ready where a node has two', () => {
    const pods = [podOn('alone'), podOn('alone', { name: 'old', ready: false })];
    const known = {
      upToDate: true,
      nodes: [nodeOf('alone')],
      agents: undefined,
      statusOf: () => undefined,
      breaker: [],
      paused: [],
    };
    for (const order of [pods, pods.toReversed()])
      assert.equal(viewFleet({ ...known, pods: order }).nodes[0]?.agent, 'ready');
  });
});
