import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import type { FleetNode } from '../../../lib/fleet/objects.ts';
import {
  DoneTimes,
  describeWaiting,
  installerPodOf,
  type Pace,
  paceOf,
  turnsOf,
} from '../../../lib/fleet/turns.ts';
import { simulatedNode } from './simulated-fleet.ts';

const NOW_MS = Date.parse('2026-11-25T12:00:00Z');
/** A time so many seconds ago. */
const ago = (seconds: number) => new Date(NOW_MS - seconds * 1_000).toISOString();
const PACE: Pace = { name: 'install', nodes: 1, settleMs: 65_000 };
const NAMES = ['a', 'b', 'c', 'd'];
const DONE = { state: { terminated: { exitCode: 0 } } };
const FAILED = { exitCode: 1, message: '✓ stage\n✗ pre-prove: it does not boot\u001b[2J\n' };

/** A pod as a DaemonSet makes it for a node: `at` is when its turn began, `done` when it was installed, `unready` when it was lost, in seconds ago. */
function podOn(
  node: string,
  { at, done, init = {}, unready, word = 'install', phase, ending }: Record<string, unknown> = {},
): V1Pod {
  const nodeSelectorTerms = [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }];
  const affinity = {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  };
  const condition = (type: string, since: unknown) => ({
    type,
    status: since === undefined ? 'False' : 'True',
    lastTransitionTime: ago(Number(since ?? unready ?? at ?? 0)),
  });
  return {
    metadata: {
      name: `install-${node}`,
      creationTimestamp: ago(600),
      ownerReferences: [{ kind: 'DaemonSet', name: PACE.name, controller: true }],
      ...(ending !== undefined && { deletionTimestamp: ago(1) }),
    },
    spec: {
      affinity,
      ...(at !== undefined && { nodeName: node }),
      initContainers: [{ name: 'install', args: ['--root', '/host', word] }],
    },
    status: {
      phase,
      conditions: [
        condition('Initialized', done),
        condition('Ready', unready === undefined ? done : undefined),
      ],
      initContainerStatuses: [{ ...(init as object), ...(done !== undefined && DONE) }],
    },
  } as unknown as V1Pod;
}

function decide(
  pods: readonly V1Pod[],
  changes: Readonly<Record<string, Partial<FleetNode>>> = {},
  { nodes = 1, doneForMs }: { readonly nodes?: number; readonly doneForMs?: number } = {},
) {
  const turns = turnsOf(
    pods.flatMap((pod) => installerPodOf(pod) ?? []),
    {
      paces: [{ ...PACE, nodes }],
      nodes: NAMES.map((name) => simulatedNode(name, changes[name])),
      // As a controller has seen it that was there from the beginning.
      doneForMs: ({ doneAtMs = NOW_MS }) => doneForMs ?? NOW_MS - doneAtMs,
      wallMs: NOW_MS,
    },
  );
  return { ...turns, begin: turns.begin.map(({ node }) => node) };
}

const judged = (status: string, reason: string, since: number) => ({
  verdict: { status, reason, message: '', since: ago(since) },
});
const broken = (since: number) => judged('False', 'LimitsNotEnforced', since);
const unknown = (since: number) => judged('Unknown', 'ContainerdUnreachable', since);

describe('turnsOf', () => {
  type Turn = Parameters<typeof podOn>[1];
  type Case = readonly [what: string, turn: Turn, follows: true | RegExp, node?: Partial<FleetNode>];
  const INSTALLED = { at: 90, done: 70 };
  const begun = (init: object) => ({ at: 5, init });
  const cases: readonly Case[] = [
    ['has just begun', { at: 5 }, /^a$/],
    ['installs', begun({ state: { running: {} } }), /^a$/],
    ['is new on its node', begun({ state: { waiting: { reason: 'PodInitializing' } } }), /^a$/],
    ['never reports', { at: 90_000 }, /^a$/],
    ['has installed a minute ago', { at: 90, done: 60 }, /^a$/],
    ['has installed long ago', INSTALLED, true],
    ['failed', begun({ state: { terminated: FAILED } }), /^a, .*: ✗ pre-prove: it does not boot/],
    ['tries again', begun({ state: { running: {} }, lastState: { terminated: FAILED } }), /failed/],
    ['was killed', begun({ lastState: { terminated: { exitCode: 137 } } }), /exit code 137/],
    ['succeeded in a second try', { ...INSTALLED, init: { lastState: { terminated: FAILED } } }, true],
    ['has no image', begun({ state: { waiting: { reason: 'ErrImagePull' } } }), /ErrImagePull/],
    ['was refused by the kubelet', { at: 5, phase: 'Failed' }, /failed/],
    ['was lost right after it', { ...INSTALLED, unready: 70 }, /not Ready/],
    ['broke gVisor', INSTALLED, /its agent says LimitsNotEnforced/, broken(6)],
    ['did not repair gVisor', INSTALLED, /its agent says/, broken(6_000)],
    ['left gVisor unknown', INSTALLED, /its agent says/, unknown(6)],
    ['was there when gVisor broke later', INSTALLED, true, broken(4)],
    ['removed gVisor', { ...INSTALLED, word: 'remove' }, true, broken(6)],
    ['has no agent', INSTALLED, true, { verdict: undefined as never }],
    ['is lost with a node that worked', { at: 90, done: 80, unready: 5 }, true],
    ['ends while it installs', { at: 5, ending: true }, /^a$/],
    ['ends when all is done', { at: 90, done: 60, ending: true }, true],
  ];
  for (const [what, turn, follows, node = {}] of cases)
    it(`${follows === true ? 'lets the next node begin' : 'lets no node begin'} if one ${what}`, () => {
      const { begin, waiting, failed } = decide([podOn('b'), podOn('a', turn)], { a: node });
      assert.deepEqual(begin, follows === true ? ['b'] : []);
      assert.equal(waiting.length, 1);
      assert.match(waiting[0]?.for ?? '', follows === true ? /to bind its pod$/ : follows);
      assert.equal(failed.has('a'), follows !== true && follows.source !== '^a$');
    });

  const YEAR = 365 * 86_400;
  /** How a node's clock differs, in seconds, the creation of its pod by the API server being right, and what is told. */
  const CLOCKS: Readonly<Record<string, [shift: number, RegExp]>> = {
    'a year ahead': [-YEAR, /^a \(whose clock is ahead\)$/],
    'a year behind': [YEAR, /^a \(whose clock is behind\)$/],
    '70 s behind': [70, /^a$/],
  };
  for (const [what, [shift, told]] of Object.entries(CLOCKS))
    it(`counts the time that the controller has seen, with a node's clock that is ${what}`, () => {
      const pods = [podOn('b'), podOn('a', { at: 90 + shift, done: 1 + shift })];
      const young = decide(pods, {}, { doneForMs: 64_000 });
      assert.deepEqual([young.begin, told.test(young.waiting[0]?.for ?? '')], [[], true]);
      assert.deepEqual(decide(pods, {}, { doneForMs: 65_000 }).begin, ['b']);
      const { begin, failed } = decide(pods, { a: broken(shift) }, { doneForMs: 65_000 });
      assert.deepEqual([begin, [...failed.keys()]], [[], ['a']]);
    });

  it('remembers since when an installation is done, and forgets pods that are gone', () => {
    const times = new DoneTimes();
    const [pod] = [podOn('a', { at: 5, done: 1 })].flatMap((each) => installerPodOf(each) ?? []);
    assert.ok(pod);
    times.see([pod], 1_000);
    times.see([pod], 5_000);
    assert.equal(times.doneForMs(pod, 6_000), 5_000);
    times.see([], 7_000);
    assert.equal(times.doneForMs(pod, 8_000), 0);
  });

  it('lets as many begin as the DaemonSet allows, the longest waiting first, and says for whom the rest waits', () => {
    const pods = [podOn('d'), podOn('c'), podOn('b'), podOn('a', { at: 5 })];
    const { begin, waiting } = decide(pods, {}, { nodes: 3 });
    assert.deepEqual(begin, ['b', 'c']);
    const last = waiting.slice(2);
    assert.deepEqual(last, [{ node: 'd', since: ago(600), for: 'a, b, c' }]);
    assert.equal(describeWaiting(last), 'd waits since 2026-11-25 11:50:00 UTC for a, b, c');
  });

  it('names some of many nodes', () => {
    const names = Array.from({ length: 50 }, (_, index) => podOn(`n${index}`, { at: 5 }));
    assert.equal(decide([podOn('a'), ...names], {}, { nodes: 9 }).waiting[0]?.for, 'n0, n1, n2 and 47 more');
  });

  it('passes over a node that is not Ready, and one whose Node or DaemonSet is not known', () => {
    const [stranger, unpaced] = [podOn('x'), podOn('c')];
    unpaced.metadata = {
      ...unpaced.metadata,
      ownerReferences: [{ kind: 'DaemonSet', controller: true } as never],
    };
    const { begin, waiting } = decide([stranger, podOn('a'), podOn('b'), unpaced], { a: { ready: false } });
    assert.deepEqual(begin, ['b']);
    const [notReady, binds] = ['its Node to be Ready', 'the fleet controller to bind its pod'];
    const reasons = waiting.map(({ node, for: what }) => `${node}: ${what}`);
    assert.deepEqual(reasons, [`a: ${notReady}`, `b: ${binds}`, 'c: b', `x: ${notReady}`]);
  });

  it('schedules no pod that no DaemonSet made', () => {
    const { metadata, ...pod } = podOn('a');
    assert.equal(installerPodOf({ ...pod, metadata: { ...metadata, ownerReferences: [] } }), undefined);
  });
});

it('takes the pace from the rolling update of the DaemonSet', () => {
  const pace = (maxUnavailable: unknown, desiredNumberScheduled = 30) =>
    paceOf({
      spec: { updateStrategy: { rollingUpdate: { maxUnavailable } } },
      status: { desiredNumberScheduled },
    } as never).nodes;
  assert.deepEqual([pace(3), pace('10%'), pace('1%'), pace('10%', 0), pace(0)], [3, 3, 1, 1, 1]);
  assert.equal(paceOf({}).nodes, 1);
  const settles = (seconds: string) =>
    paceOf({ metadata: { annotations: { 'gvisor-ready.dev/settle-seconds': seconds } } }).settleMs;
  assert.deepEqual([settles('65'), settles('soon'), paceOf({}).settleMs], [65_000, 0, 0]);
});
