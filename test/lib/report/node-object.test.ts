import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { REASONS } from '../../../lib/base/reasons.ts';
import {
  type Condition,
  conditionFor,
  type DesiredEntry,
  isOlder,
  type NodeObject,
  statusPatch,
  taintPatch,
  valueIn,
} from '../../../lib/report/node-object.ts';
import { verdictOf } from '../../agent/reports.ts';

const metadata = { name: 'node-1', uid: 'a', resourceVersion: '7' };
const TAINT = { key: 'd/not-ready' };
const NO_EXECUTE = { ...TAINT, effect: 'NoExecute' };
const TIMES = { lastHeartbeatTime: '', lastTransitionTime: '' };
const NODE: NodeObject = {
  metadata: { ...metadata, labels: { 'd/ready': 'false', team: 'x' }, annotations: { 'd/agent': 'old' } },
  spec: { taints: [{ ...TAINT, effect: 'NoSchedule', value: 'x' }, NO_EXECUTE] },
  status: {
    conditions: [
      { ...TIMES, type: 'GVisorReady', status: 'True', reason: 'Old', message: '' },
      { ...TIMES, type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' },
    ],
  },
};
const DESIRED: readonly DesiredEntry[] = [
  { part: 'labels', key: 'd/ready', value: 'true' },
  { part: 'labels', key: 'd/platform', value: null },
  { part: 'annotations', key: 'd/agent', value: 'new' },
  { part: 'taint', key: 'd/not-ready', value: null },
  { part: 'condition', key: 'GVisorReady', value: 'True SandboxProven' },
];

describe('the difference between a Node and its desired state', () => {
  it('lists each key', () => {
    const rows = DESIRED.map((entry) => [entry.key, valueIn(NODE, entry), entry.value]);
    assert.deepEqual(rows, [
      ['d/ready', 'false', 'true'],
      ['d/platform', null, null],
      ['d/agent', 'old', 'new'],
      ['d/not-ready', 'NoSchedule', null],
      ['GVisorReady', 'True Old', 'True SandboxProven'],
    ]);
    const absent = DESIRED.map((entry) => valueIn({ metadata }, entry));
    assert.deepEqual(absent, Array(5).fill(null));
  });

  it('needs one patch of the status, and one of the taints that is bound to the resourceVersion', () => {
    const [ready, platform, agent, taint, condition] = DESIRED;
    assert.ok(ready && platform && agent && taint && condition);
    const current = { ...TIMES, type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: '' };
    assert.equal(statusPatch([taint], undefined), undefined);
    assert.deepEqual(statusPatch([ready], undefined), { metadata: { labels: { 'd/ready': 'true' } } });
    assert.deepEqual(statusPatch([ready, platform, agent, taint, condition], current), {
      metadata: { labels: { 'd/ready': 'true', 'd/platform': null }, annotations: { 'd/agent': 'new' } },
      status: { conditions: [current] },
    });
    assert.equal(taintPatch(NODE, [ready, condition]), undefined);
    assert.deepEqual(taintPatch(NODE, [ready, taint]), {
      metadata: { resourceVersion: '7' },
      spec: { taints: [NO_EXECUTE] },
    });
    assert.deepEqual(taintPatch({ metadata }, [{ ...taint, value: 'NoSchedule' }]), {
      metadata: { resourceVersion: '7' },
      spec: { taints: [{ ...TAINT, effect: 'NoSchedule' }] },
    });
  });
});

describe('conditionFor', () => {
  const [OLD, NOW] = ['2026-03-01T10:00:00Z', '2026-03-01T11:00:00Z'];
  const BROKEN = verdictOf('False', 'ShimNotFound');
  const conditionAfter = (old: Partial<Condition>, verdict = BROKEN) => {
    const condition = { type: 'GVisorReady', ...old } as Condition;
    const node: NodeObject = { metadata, status: { conditions: [condition] } };
    return conditionFor(verdict, node, Date.parse('2026-03-01T11:00:00.900Z'));
  };

  for (const [what, old, transition] of [
    ['changes with the status', { status: 'True', lastTransitionTime: OLD }, NOW],
    ['stays if only the reason changes', { status: 'False', reason: 'X', lastTransitionTime: OLD }, OLD],
    ['is added to a condition without times', { status: 'False' }, NOW],
    ['is new for another type', { type: 'Ready', status: 'False', lastTransitionTime: OLD }, NOW],
  ] as const) {
    it(`has a lastTransitionTime that ${what}, and the time of the write as heartbeat`, () => {
      const { lastTransitionTime, lastHeartbeatTime } = conditionAfter(old);
      assert.deepEqual([lastTransitionTime, lastHeartbeatTime], [transition, NOW]);
    });
  }

  it('truncates a long message before the remedy', () => {
    const long = `starting ${'x'.repeat(5_000)}: no such file`;
    const { message } = conditionAfter({}, { ...BROKEN, message: long });
    assert.equal(message.length, 512);
    assert.match(message, /^starting x+ … x+: no such file\. What to do: /);
    assert.ok(message.endsWith(REASONS.ShimNotFound.remedy));
  });
});

describe('isOlder', () => {
  for (const [a, b, older] of [
    ['9', '10', true],
    ['10', '9', false],
    ['10', '10', false],
    ['99999999999999999998', '99999999999999999999', true],
  ] as const) {
    it(`${a} and ${b}: ${older}`, () => {
      assert.equal(isOlder({ ...metadata, resourceVersion: a }, { ...metadata, resourceVersion: b }), older);
    });
  }
});
