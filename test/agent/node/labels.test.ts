import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Facts } from '../../../agent/finding.ts';
import { labelsFor, labelValue } from '../../../agent/node/desired.ts';
import { verdictOf } from '../reports.ts';

describe('labelsFor', () => {
  const facts = { runsc: 'release-20260223.0', platform: 'systrap' };

  it('names readiness, release and platform', () => {
    assert.deepEqual(labelsFor(verdictOf('True', 'SandboxProven'), facts), {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': 'release-20260223.0',
      'gvisor.node-restriction.kubernetes.io/platform': 'systrap',
    });
  });

  for (const verdict of [verdictOf('False', 'ShimNotFound'), verdictOf('Unknown', 'CheckTimedOut')]) {
    it(`is not ready when the verdict is ${verdict.status}`, () => {
      assert.equal(labelsFor(verdict, facts)['gvisor.node-restriction.kubernetes.io/ready'], 'false');
    });
  }

  it('leaves what could not be told of a node that does not fail, and takes away what was seen to be so no longer', () => {
    const labels = (told: Facts) => labelsFor(verdictOf('True', 'SandboxProven'), told);
    assert.deepEqual(labels({}), { 'gvisor.node-restriction.kubernetes.io/ready': 'true' });
    assert.deepEqual(labels({ runsc: undefined, platform: 'kvm' }), {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': null,
      'gvisor.node-restriction.kubernetes.io/platform': 'kvm',
    });
  });

  it('takes away the labels of what is not known of a node that fails', () => {
    assert.deepEqual(labelsFor(verdictOf('False', 'RunscNotFound'), {}), {
      'gvisor.node-restriction.kubernetes.io/ready': 'false',
      'gvisor.node-restriction.kubernetes.io/runsc-version': null,
      'gvisor.node-restriction.kubernetes.io/platform': null,
    });
  });
});

describe('labelValue', () => {
  const table: readonly [string | undefined, string | null][] = [
    ['release-20260817.0-70-g3c5eee17dc45', 'release-20260817.0-70-g3c5eee17dc45'],
    ['0.0~20240729.0', '0.0-20240729.0'],
    ['VERSION_MISSING', 'VERSION_MISSING'],
    ['release 1 (dirty)', 'release-1-dirty'],
    ['_.-x-._', 'x'],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
    ['über', 'ber'],
    ['---', null],
    ['', null],
    [undefined, null],
  ];
  for (const [text, expected] of table) {
    it(`"${text}" is ${expected}`, () => assert.equal(labelValue(text), expected));
  }

  it('is always what the API server takes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 100 }), (text) => {
        const value = labelValue(text);
        assert.ok(value === null || /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(value));
      }),
    );
  });
});
