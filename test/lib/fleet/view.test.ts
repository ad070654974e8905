import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AgentStatus } from '../../../lib/fleet/agent-status.ts';
import type { FleetNode } from '../../../lib/fleet/objects.ts';
import { NO_TURNS } from '../../../lib/fleet/turns.ts';
import { type FleetState, TESTED_NODES, viewFleet } from '../../../lib/fleet/view.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { alertsOf, readRules } from '../../monitoring/alerts.ts';
import { EMPTY_FLEET, KVM, simulatedAgent, simulatedNode } from './simulated-fleet.ts';

const verdict = (status: string, reason: string) => ({ status, reason, message: 'm', since: '' });

/** A node that no agent has judged. */
const fresh = ({ verdict: _, expected: __, ...node }: FleetNode): FleetNode => ({ ...node, label: '' });

/** One node of each state, unsorted. */
const NODES = [
  simulatedNode('proven-10', { gvisor: 'release-20260223.0' }),
  simulatedNode('proven-9', { gvisor: 'release-20250203.0' }),
  simulatedNode('fresh', { label: '', verdict: undefined as never }),
  simulatedNode('asleep', { ready: false, label: 'true' }),
  simulatedNode('unsure', { label: 'false', verdict: verdict('Unknown', 'NotVisible') }),
  simulatedNode('broken', { label: 'false', verdict: verdict('False', 'ShimNotFound') }),
  simulatedNode('lost', { label: 'false', verdict: verdict('Unknown', 'AgentLost') }),
  simulatedNode('alone'),
  simulatedNode('hangs'),
  simulatedNode('windows', { os: 'windows' }),
].map(({ verdict: own, ...node }) => (own === undefined ? node : { ...node, verdict: own }));

const rules = alertsOf(await readRules());
/** The alerts of alarms that have other names. */
const ALERTS: ReadonlyMap<string, string> = new Map([
  ['FleetCannotWrite', 'GVisorFleetCannotWrite'],
  ['WatchesDown', 'GVisorFleetUnseen'],
  ['SandboxesHang', 'GVisorSandboxesHang'],
  ['AgentsMissing', 'GVisorAgentNotStarted'],
]);
/** As severe as what depends on it. */
const VARIES = ['GuardMissing'];

const UNBOUND = { guard: 'gvisor-ready-agent', effect: 'unbound', danger: 'd' } as const;
const OPEN_EGRESS = { state: 'open', targets: [{ name: 'kubelet', ms: 84 }] } as const;
const saying = (status: string, reason: string) => ({
  statement: { verdicts: new Map([['', { status, reason }]]), problem: '401 Unauthorized' },
});
const REFUTED = saying('False', 'RunscNotFound');

/** Of nodes that each have a Ready agent. */
const viewOf = (nodes: readonly FleetNode[], changes: Partial<FleetState> = {}) =>
  viewFleet({ ...EMPTY_FLEET, nodes, pods: nodes.map(({ name }) => simulatedAgent(name)), ...changes });

const view = viewFleet({
  ...EMPTY_FLEET,
  nodes: NODES,
  pods: NODES.map(({ name }) => simulatedAgent(name, { ready: name !== 'alone' })),
  agents: { observed: true, desired: 9, ready: 8 },
  statusOf: (node) => {
    if (node === 'proven-9') return { version: '0.1.0', provenAt: '2026-11-25T10:00:00Z' };
    if (node === 'hangs') return { version: '0.2.0', sandboxes: { problems: 2, unsafe: true } };
    return { version: '0.2.0', provenAt: '2026-11-25T11:00:00Z' };
  },
  breaker: ['TooManyLost'],
  paused: ['alone'],
});

describe('viewFleet', () => {
  it('has the rollout of the installer, and its nodes that are not done first', () => {
    const nodes = ['a', 'b', 'c'].map((name) => simulatedNode(name));
    const { done, failed } = INSTALLATIONS;
    const installationOf: Readonly<Record<string, typeof done | typeof failed>> = { b: done, c: failed };
    const statusOf = (node: string) => {
      const installation = installationOf[node];
      return { version: '0.2.0', ...(installation && { installation }) };
    };
    const { rollout, nodes: rows } = viewOf(nodes, { statusOf });
    assert.deepEqual(rollout?.failed, { RunscNotExecutable: ['c'] });
    assert.equal('rollout' in viewFleet({ ...EMPTY_FLEET, nodes }), false);
    const shown = rows.map(({ name, installer }) => [name, installer]);
    assert.deepEqual(shown.at(0), ['c', 'release-20260224.0 failed: RunscNotExecutable']);
    assert.deepEqual(shown.at(-1), ['b', '']);
  });

  it('has in its headline only the nodes that should run gVisor, and folds the others last', () => {
    const bare = { label: 'false', expected: false, verdict: verdict('False', 'HandlerNotConfigured') };
    const nodes = [
      ...['x-1', 'x-2', 'x-3'].map((name) => simulatedNode(name, bare)),
      simulatedNode('x-4', { ...bare, ready: false, cordoned: true }),
      simulatedNode('a'),
      simulatedNode('b', { label: 'false', verdict: verdict('False', 'ShimNotFound') }),
      fresh(simulatedNode('c')),
    ];
    const { expected, alarms, nodes: rows } = viewOf(nodes);
    assert.deepEqual(expected, { proven: 1, total: 2 });
    assert.deepEqual(
      alarms.map(({ reason }) => reason),
      ['ReadyShareLow'],
    );
    assert.deepEqual(
      rows.map(({ name, group }) => `${name} ${group}`),
      [
        'b ShimNotFound',
        'c NotJudged',
        'a SandboxProven',
        ...['x-1', 'x-2', 'x-3', 'x-4'].map((name) => `${name} NotExpected`),
      ],
    );
    assert.deepEqual([rows.at(-1)?.nodeReady, rows.at(-1)?.cordoned], [false, true]);
  });

  it('tells an additional handler that is lost from one that never was proven', () => {
    const not = { ...KVM, label: 'false' };
    const bare = { label: 'false', expected: false, verdict: verdict('False', 'HandlerNotConfigured') };
    const nodes = [
      simulatedNode('a', { handlers: [KVM] }),
      simulatedNode('b', { handlers: [not] }),
      simulatedNode('c', { handlers: [{ ...not, provenBoot: '' }] }),
      simulatedNode('d', { handlers: [{ ...not, handler: 'other', provenBoot: '' }] }),
      simulatedNode('e', { ...bare, handlers: [{ ...not, provenBoot: '' }] }),
    ];
    const { nodes: rows } = viewOf(nodes);
    assert.deepEqual(
      rows.map(({ name, group, handlers = [] }) => [name, group, handlers.map(({ state }) => state).join()]),
      [
        ['b', 'HandlerNotProven', 'lost'],
        ['a', 'SandboxProven', 'proven'],
        ['c', 'SandboxProven', 'not'],
        ['d', 'SandboxProven', 'not'],
        ['e', 'NotExpected', 'not'],
      ],
    );
  });

  it('takes a node for labelled that has only an additional label', () => {
    const nodes = [simulatedNode('a', { label: 'false', handlers: [KVM] })];
    const { withoutAgent, alarms } = viewFleet({ ...EMPTY_FLEET, nodes });
    assert.deepEqual([withoutAgent, alarms.map(({ reason }) => reason)], [['a'], ['LabelWithoutAgent']]);
  });

  it('shows a fault of a sandbox on a node where gVisor is not expected', () => {
    const nodes = [simulatedNode('a', { label: 'false', expected: false })];
    const statusOf = () => ({ version: '', sandboxes: { problems: 1, unsafe: false } });
    const { nodes: rows } = viewOf(nodes, { statusOf });
    assert.deepEqual(
      rows.map(({ group }) => group),
      ['SandboxesHang'],
    );
  });

  for (const [pods, isUnknown] of [
    [undefined, true],
    [{ violating: 0, weakened: 0, open: 0 }, true],
    [{ violating: 0, weakened: 0, open: 0, unknown: 1 }, true],
    [{ violating: 0, weakened: 0, open: 0, unknown: 0 }, false],
  ] as const)
    it(`has ${isUnknown ? 'un' : ''}known pods if the agent counts ${JSON.stringify(pods)}`, () => {
      const statusOf = () => ({ version: '', readMs: EMPTY_FLEET.nowMs, ...(pods && { pods }) });
      const { nodes } = viewOf([simulatedNode('a')], { statusOf });
      assert.deepEqual(nodes[0]?.unknown, isUnknown ? ['pods'] : undefined);
    });

  const alarmOf = (changes: Partial<FleetState>) => {
    const nodes = ['a', 'b'].map((name) => simulatedNode(name));
    const { alarms } = viewOf(nodes, changes);
    return alarms.map(({ reason, severity, nodes }) => `${severity} ${reason} ${nodes.join()}`.trim());
  };
  const ABCDE = ['a', 'b', 'c', 'd', 'e'].map((name) => simulatedAgent(name));
  const broken = (name: string) =>
    simulatedNode(name, { label: 'false', verdict: verdict('False', 'ShimNotFound') });
  const bareNodes = (count: number) =>
    Array.from({ length: count }, (_, at) => simulatedNode(`${at}`, { label: '', expected: false }));
  const onB = (status: Partial<AgentStatus>) => (node: string) =>
    node === 'b' ? { version: '', ...status } : undefined;
  for (const [reason, changes] of [
    ['', {}],
    ['critical UnsandboxedPods b', { statusOf: onB({ pods: { violating: 2, weakened: 0, open: 0 } }) }],
    ['warning WeakenedPods b', { statusOf: onB({ pods: { violating: 0, weakened: 1, open: 0 } }) }],
    ['warning ReportsUnread b', { statusOf: onB({ unread: true }) }],
    ['warning ControllerStarved', { statusOf: onB({ unread: true }), lateMs: 1_000 }],
    ['', { lateMs: 999 }],
    ['warning FleetTooLarge', { nodes: bareNodes(TESTED_NODES + 1), pods: [] }],
    ['', { nodes: bareNodes(TESTED_NODES), pods: [] }],
    [
      'warning InstallationFailed b',
      { turns: { ...NO_TURNS, failed: new Map([['b', 'it does not boot']]) } },
    ],
    ['warning SandboxesHang b', { statusOf: onB({ sandboxes: { problems: 1, unsafe: false } }) }],
    ['critical LabelOutdated b,warning ReadyShareLow', { statusOf: onB(REFUTED) }],
    [
      'critical LabelOutdated b,warning ReadyShareLow',
      {
        pods: [simulatedAgent('a'), simulatedAgent('b', { ready: false })],
        statusOf: onB(REFUTED),
      },
    ],
    [
      'warning NodeOutdated b,warning ReadyShareLow',
      { nodes: [simulatedNode('a'), broken('b')], statusOf: onB(saying('True', 'SandboxProven')) },
    ],
    [
      'warning NodeOutdated b,warning ReadyShareLow',
      { nodes: [simulatedNode('a'), broken('b')], statusOf: onB(REFUTED) },
    ],
    ['warning LabelWithoutAgent a', { pods: [simulatedAgent('b')] }],
    ['', { nodes: [simulatedNode('a', { ready: false }), simulatedNode('b')], pods: [simulatedAgent('b')] }],
    ['critical TooFewLeft a', { breaker: ['TooFewLeft'], paused: ['a'] }],
    ['warning ApiServerAway', { breaker: ['ApiServerAway'] }],
    ['warning FleetCannotWrite a', { failedWrites: new Map([['a', '403']]) }],
    ['warning CanaryFails b', { failingCanaries: ['b', 'gone'] }],
    ['', { nodes: [simulatedNode('a', { ready: false })], failingCanaries: ['a'] }],
    ['critical EgressOpen a', { egress: new Map([['a', OPEN_EGRESS]]) }],
    ['warning EgressUnknown a', { egress: new Map([['a', { state: 'unknown', why: 'x', waits: false }]]) }],
    ['', { egress: new Map([['a', { state: 'unknown', why: 'x', waits: true }]]) }],
    ['', { egress: new Map([['a', { state: 'closed' }]]) }],
    ['warning WatchesDown', { upToDate: false }],
    ['critical GuardMissing', { guards: { isRequired: true, missing: [UNBOUND] } }],
    ['critical GuardMissing', { guards: { isRequired: false, missing: [UNBOUND] } }],
    [
      'warning GuardMissing',
      { guards: { isRequired: false, missing: [{ ...UNBOUND, guard: 'gvisor-ready-enforce' }] } },
    ],
    ['critical RequirementLifted', { guards: { isRequired: false, missing: [], lifted: ['eval'] } }],
    ['warning GuardsUnread', { guards: { isRequired: true, missing: [], problem: '403' } }],
    ['critical NoNodeReady', { nodes: [broken('a'), broken('b')] }],
    ['warning ReadyShareLow', { nodes: [broken('a'), simulatedNode('b')] }],
    ['', { nodes: [broken('a'), ...['b', 'c', 'd', 'e'].map((name) => simulatedNode(name))], pods: ABCDE }],
    ['warning AgentFlaps b', { damped: ['b'] }],
    ['warning AgentsMissing', { agents: { observed: true, desired: 3, ready: 2 } }],
  ] as const satisfies readonly (readonly [string, Partial<FleetState>])[])
    it(`has the alarm "${reason}", as severe as its alert`, () => {
      assert.deepEqual(alarmOf(changes).join(), reason);
      for (const [severity, code = ''] of alarmOf(changes).map((text) => text.split(' '))) {
        const rule = rules.find(({ alert }) => alert === (ALERTS.get(code) ?? `GVisor${code}`));
        if (rule !== undefined && !VARIES.includes(code)) assert.equal(severity, rule.labels.severity, code);
      }
    });

  it('does not count a node as proven whose agent refutes that, and says what the agent says', () => {
    const nodes = ['a', 'b'].map((name) => simulatedNode(name));
    const statusOf = onB(REFUTED);
    const { expected, alarms, nodes: rows } = viewOf(nodes, { statusOf });
    assert.deepEqual(expected, { proven: 1, total: 2 });
    assert.deepEqual([rows[0]?.name, rows[0]?.state, rows[0]?.group], ['b', 'not', 'LabelOutdated']);
    assert.deepEqual([alarms[0]?.reason, alarms[0]?.nodes], ['LabelOutdated', ['b']]);
    assert.equal(rows[0]?.refuted, 'RunscNotFound, and cannot write its Node: 401 Unauthorized');
  });

  it('takes neither side where the agent proves a node that says False, also once that is withdrawn', () => {
    const withdrawn = { status: 'Unknown', reason: 'AgentCannotWrite', message: '', since: '' };
    for (const node of [broken('b'), simulatedNode('b', { label: 'false', verdict: withdrawn })]) {
      const statusOf = onB(saying('True', 'SandboxProven'));
      const [row] = viewOf([node], { statusOf }).nodes;
      assert.deepEqual(
        [row?.state, row?.reason, row?.group],
        ['unknown', 'AgentCannotWrite', 'NodeOutdated'],
      );
      assert.deepEqual(
        [row?.refuted, row?.outdated],
        ['', 'SandboxProven, and cannot write its Node: 401 Unauthorized'],
      );
    }
  });

  it('says how old reports may be, in steps of 15 s', () => {
    const ageOf = (...readMs: readonly number[]) => {
      const nodes = readMs.map((each) => simulatedNode(`${each}`));
      const pods = nodes.map(({ name }) => simulatedAgent(name, { ready: name !== '1' }));
      const statusOf = (name: string) => ({ version: '', readMs: Number(name) });
      return viewOf(nodes, { pods, statusOf }).reportAgeSeconds;
    };
    assert.deepEqual([ageOf(), ageOf(100_000), ageOf(99_000, 84_999, 1)], [undefined, 15, 30]);
  });

  it('has critical alarms first', () => {
    const guards = { isRequired: true, missing: [UNBOUND] };
    const alarms = alarmOf({ upToDate: false, guards });
    assert.deepEqual(alarms, ['critical GuardMissing', 'warning WatchesDown']);
  });

  it('sorts by urgency, then by name in numeric order', () => {
    const names = ['alone', 'lost', 'broken', 'unsure', 'hangs', 'asleep', 'fresh', 'proven-9', 'proven-10'];
    assert.deepEqual(
      view.nodes.map(({ name }) => name),
      names,
    );
  });

  it('names the nodes without an agent, and counts the agents', () => {
    assert.deepEqual(view.withoutAgent, ['alone']);
    assert.deepEqual(view.agents, { desired: 9, ready: 8 });
  });

  it('has the state of the circuit breaker', () => {
    assert.deepEqual([view.breaker, view.paused], [['TooManyLost'], ['alone']]);
  });

  it('prefers the Ready pod of two on a node', () => {
    const pods = [simulatedAgent('alone'), simulatedAgent('alone', { name: 'old', ready: false })];
    const nodes = [simulatedNode('alone')];
    for (const order of [pods, pods.toReversed()])
      assert.equal(viewFleet({ ...EMPTY_FLEET, nodes, pods: order }).nodes[0]?.agent, 'ready');
  });
});
