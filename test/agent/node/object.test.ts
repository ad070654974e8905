import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type DesiredEntry,
  isOlder,
  type NodeObject,
  statusPatch,
  taintPatch,
  valueIn,
} from '../../../agent/node/object.ts';

const metadata = { name: 'node-1', uid: 'a', resourceVersion: '7' };
const TIMES = { lastHeartbeatTime: '', lastTransitionTime: '' };
const NODE: NodeObject = {
  metadata: { ...metadata, labels: { 'd/ready': 'false', team: 'x' }, annotations: { 'd/agent': 'old' } },
  spec: {
    taints: [
      { key: 'd/not-ready', effect: 'NoSchedule', value: 'x' },
      { key: 'd/not-ready', effect: 'NoExecute' },
    ],
  },
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
    const bare: NodeObject = { metadata };
    assert.deepEqual(
      DESIRED.map((entry) => valueIn(bare, entry)),
      [null, null, null, null, null],
    );
  });

  it('needs one patch of the status, and one of the taints that is bound to the resourceVersion', () => {
    const [ready, , agent, taint, condition] = DESIRED;
    assert.ok(ready && agent && taint && condition);
    const current = { ...TIMES, type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: '' };
    assert.equal(statusPatch([taint], undefined), undefined);
    assert.deepEqual(statusPatch([ready], undefined), { metadata: { labels: { 'd/ready': 'true' } } });
    assert.deepEqual(statusPatch([ready, agent, taint, condition], current), {
      metadata: { labels: { 'd/ready': 'true' }, annotations: { 'd/agent': 'new' } },
      status: { conditions: [current] },
    });
    assert.equal(taintPatch(NODE, [ready, condition]), undefined);
    assert.deepEqual(taintPatch(NODE, [ready, taint]), {
      metadata: { resourceVersion: '7' },
      spec: { taints: [{ key: 'd/not-ready', effect: 'NoExecute' }] },
    });
    assert.deepEqual(taintPatch({ metadata }, [{ ...taint, value: 'NoSchedule' }]), {
      metadata: { resourceVersion: '7' },
      spec: { taints: [{ key: 'd/not-ready', effect: 'NoSchedule' }] },
    });
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
