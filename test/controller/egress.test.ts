import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import {
  type EgressMemory,
  egressLabelFor,
  egressPodOf,
  judgeEgress,
  rememberEgress,
} from '../../controller/egress.ts';
import type { FleetNode } from '../../lib/fleet/objects.ts';
import { simulatedNode } from '../lib/fleet/simulated-fleet.ts';

const MINUTE_MS = 60_000;

const CLOSED = { name: 'api-server', tries: 90 };
const OPEN = { ...CLOSED, open: { fromMs: 60, untilMs: 144 } };
const message = (...targets: readonly object[]) =>
  JSON.stringify({ schema: 1, sandboxMs: 800, processMs: 300, forMs: 5_000, targets });

/** A canary in its `start`-th sandbox, in which all is closed. */
function canary(
  start: number,
  changes: { readonly [Key in 'said' | 'ended']?: string } = {},
  ready = true,
): V1Pod {
  const { said = message(CLOSED), ended } = changes;
  const [at, image] = [new Date(0), { image: '', imageID: '', restartCount: 0, ready }];
  const terminated = { containerID: `start-${start}`, exitCode: 0, startedAt: at, message: said };
  const watch = ended === undefined ? {} : { terminated: { exitCode: 1, message: ended } };
  return {
    metadata: {
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'e', uid: '1', controller: true }],
    },
    spec: { nodeName: 'a', containers: [] },
    status: {
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      initContainerStatuses: [{ name: 'start', state: { terminated }, ...image }],
      containerStatuses: [{ name: 'watch', state: {}, lastState: watch, ...image }],
    },
  };
}

const FIRST = canary(1);
const SECOND = canary(2);

/** The controller's sight at a minute of its life. */
type Sight = {
  readonly at: number;
  /** "unseen" while the watch is down. */
  readonly pod: V1Pod | 'none' | 'unseen';
  readonly node?: Partial<FleetNode>;
};

/** The last verdict, and what becomes of a label that is there, and of none. */
function follow(sights: readonly Sight[]) {
  let memory: ReadonlyMap<string, EgressMemory> = new Map();
  let said = '';
  for (const { at, pod, node: changes } of sights) {
    const node = simulatedNode('a', changes);
    const kept = typeof pod === 'object' ? egressPodOf(pod) : undefined;
    const own = kept === undefined ? [] : [kept];
    const pods = pod === 'unseen' ? undefined : new Map([['a', own]]);
    const nowMs = 1_000_000 + at * MINUTE_MS;
    memory = rememberEgress({ nodes: [node], pods }, memory, nowMs);
    const known = memory.get('a');
    assert.ok(known !== undefined);
    const verdict = judgeEgress(node, { pods: own, memory: known, nowMs });
    const labels = ['true', ''].map((egress) => egressLabelFor({ ...node, egress }, verdict, false) ?? '-');
    const why = 'why' in verdict ? verdict.why : '';
    const targets =
      'targets' in verdict ? verdict.targets.map(({ name, ms = 'now' }) => `${name} ${ms}`) : [];
    said = `${[verdict.state, why, ...targets].filter(Boolean).join(': ')} ${labels.join(' ')}`;
  }
  return said;
}

const CONFIRMED: readonly Sight[] = [
  { at: 0, pod: FIRST },
  { at: 11, pod: SECOND },
];
const RACED = canary(2, { said: message(CLOSED, { ...OPEN, name: 'kubelet' }) });
const BROKEN = canary(2, { ended: message(CLOSED, OPEN) }, false);
const WAITS = 'closed in 1 of 2 new sandboxes';

const TABLE: readonly (readonly [what: string, sights: readonly Sight[], said: string])[] = [
  ['one closed sandbox confirms nothing', [{ at: 0, pod: FIRST }], `unknown: ${WAITS} - -`],
  ['nor does the same, seen again', [0, 5, 9].map((at) => ({ at, pod: FIRST })), `unknown: ${WAITS} - -`],
  ['a second one confirms', CONFIRMED, 'closed - true'],
  [
    'a second one that was open is told',
    [
      { at: 0, pod: FIRST },
      { at: 11, pod: RACED },
    ],
    'open: kubelet 84 false false',
  ],
  ['and so is a first one', [{ at: 0, pod: RACED }], 'open: kubelet 84 false false'],
  [
    'after it, two must be closed',
    [
      { at: 0, pod: FIRST },
      { at: 11, pod: RACED },
      { at: 22, pod: canary(3) },
    ],
    `unknown: ${WAITS} - -`,
  ],
  [
    'which confirm again',
    [
      { at: 11, pod: RACED },
      { at: 22, pod: canary(3) },
      { at: 33, pod: canary(4) },
    ],
    'closed - true',
  ],
  [
    'a target that opens later is told',
    [...CONFIRMED, { at: 12, pod: BROKEN }],
    'open: api-server now false false',
  ],
  [
    'once it is closed again, earlier sandboxes count for nothing',
    [...CONFIRMED, { at: 12, pod: BROKEN }, { at: 13, pod: SECOND }],
    'unknown: closed in 0 of 2 new sandboxes - -',
  ],
  [
    'a sandbox that is being made anew changes nothing',
    [...CONFIRMED, { at: 12, pod: canary(2, {}, false) }],
    'closed - true',
  ],
  [
    'a canary that is not Ready for minutes says nothing',
    [...CONFIRMED, { at: 17, pod: canary(2, {}, false) }],
    'unknown: its canary is not Ready false -',
  ],
  [
    'one that is gone neither',
    [...CONFIRMED, { at: 17, pod: 'none' }],
    'unknown: no canary runs here false -',
  ],
  [
    'one that the controller does not see neither',
    [...CONFIRMED, { at: 17, pod: 'unseen' }],
    'unknown: no canary runs here false -',
  ],
  [
    'one that makes no new sandbox is too old',
    [...CONFIRMED, { at: 32, pod: SECOND }],
    'unknown: its canary made no new sandbox in time false -',
  ],
  [
    'a label goes with that of the agent',
    [...CONFIRMED, { at: 12, pod: SECOND, node: { label: 'false' } }],
    'unknown: gVisor is not proven here false -',
  ],
  [
    'another boot needs proofs of its own',
    [...CONFIRMED, { at: 12, pod: SECOND, node: { boot: 'boot-2' } }],
    `unknown: ${WAITS} - -`,
  ],
  [
    "a predecessor's label stays for a while",
    [
      { at: 0, pod: FIRST },
      { at: 19, pod: FIRST },
    ],
    `unknown: ${WAITS} - -`,
  ],
  [
    'but not for ever',
    [
      { at: 0, pod: FIRST },
      { at: 10, pod: BROKEN },
      { at: 16, pod: SECOND },
      { at: 26, pod: canary(3) },
    ],
    `unknown: ${WAITS} false -`,
  ],
  [
    "the node's network says nothing of a pod's",
    [{ at: 0, pod: { ...FIRST, spec: { nodeName: 'a', containers: [], hostNetwork: true } } }],
    "unknown: its canary has the node's network false -",
  ],
  [
    'a pod of no DaemonSet is not believed',
    [...CONFIRMED.map(({ at, pod }) => ({ at, pod: { ...(pod as V1Pod), metadata: {} } }))],
    'unknown: no canary runs here false -',
  ],
  [
    'a message that is none says nothing',
    [{ at: 0, pod: canary(1, { said: 'TARGETS has "x"' }) }],
    'unknown: its canary could not try each target false -',
  ],
  [
    'a message without tries says nothing',
    [{ at: 0, pod: canary(1, { said: message({ ...CLOSED, tries: 0 }) }) }],
    'unknown: its canary could not try each target false -',
  ],
  [
    'a name that a node made up is not repeated',
    [{ at: 0, pod: canary(1, { said: message({ ...OPEN, name: '<b>' }) }) }],
    'unknown: its canary could not try each target false -',
  ],
];

describe('of the egress of a node', () => {
  for (const [what, sights, said] of TABLE) it(what, () => assert.equal(follow(sights), said));
});

it('labels nothing while the circuit breaker is open, except what answered', () => {
  const open = { state: 'open', targets: [{ name: 'kubelet' }] } as const;
  const unknown = { state: 'unknown', why: 'no canary runs here', waits: false } as const;
  const labels = ([{ state: 'closed' }, unknown, open] as const).map((verdict) =>
    ['true', 'false', ''].map((egress) => egressLabelFor(simulatedNode('a', { egress }), verdict, true)),
  );
  assert.deepEqual(labels, [
    [undefined, undefined, undefined],
    [undefined, undefined, undefined],
    ['false', undefined, 'false'],
  ]);
});
