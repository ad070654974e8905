import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseConfig } from '../../../agent/config.ts';
import type { Facts } from '../../../agent/host/system.ts';
import { claimFor, fingerprintOf, guardRollout, labelsFor, labelValue } from '../../../agent/node/desired.ts';
import { type NodeObject, OWN_KEYS } from '../../../agent/node/object.ts';
import { PROVEN_VERDICT, reportOf, verdictOf } from '../reports.ts';

const { ready: LABEL, runscVersion: RUNSC, platform: PLATFORM, gpu: GPU } = OWN_KEYS.labels;
const { provenBy: PROVEN_BY, provenBoot: PROVEN_BOOT } = OWN_KEYS.annotations;
const BROKEN = verdictOf('False', 'ShimNotFound');
const UNKNOWN = verdictOf('Unknown', 'ContainerdUnreachable');
const BOOT = 'boot-2';
const OLD_BOOT = 'boot-1';

describe('claimFor', () => {
  function nodeOf(label: string | undefined, proven: string | undefined, reported?: string): NodeObject {
    const labels = label === undefined ? {} : { [LABEL]: label };
    const annotations = proven === undefined ? {} : { [PROVEN_BOOT]: proven };
    const metadata = { name: 'node-1', uid: 'u', resourceVersion: '1', labels, annotations };
    return { metadata, status: reported === undefined ? {} : { nodeInfo: { bootID: reported } } };
  }

  for (const [label, proven, isWithdrawn] of [
    ['true', BOOT, false],
    ['true', OLD_BOOT, true],
    ['true', '', true],
    ['true', undefined, true],
    ['false', OLD_BOOT, false],
    ['false', undefined, false],
    [undefined, OLD_BOOT, false],
    [undefined, undefined, false],
  ] as const) {
    it(`${isWithdrawn ? 'withdraws' : 'leaves'} label ${label}, proven in boot ${proven}, without a report`, () => {
      const claim = claimFor(undefined, nodeOf(label, proven, OLD_BOOT), BOOT);
      assert.equal(claim?.verdict.reason, isWithdrawn ? 'NodeRebooted' : undefined);
    });
  }

  for (const verdict of [PROVEN_VERDICT, BROKEN, UNKNOWN])
    for (const reported of [undefined, '', BOOT, OLD_BOOT]) {
      const isWithheld = verdict === PROVEN_VERDICT && reported === OLD_BOOT;
      it(`${isWithheld ? 'withholds' : 'publishes'} ${verdict.status} if the kubelet reports boot ${reported}`, () => {
        const claim = claimFor(reportOf({ verdict }), nodeOf('false', OLD_BOOT, reported), BOOT);
        assert.equal(claim?.verdict.reason, isWithheld ? 'NodeRebooted' : verdict.reason);
      });
    }
});

describe('labelsFor', () => {
  const facts = { runsc: 'release-20260223.0', platform: 'systrap' };
  const known = { [RUNSC]: facts.runsc, [PLATFORM]: 'systrap' };
  const unknown = { runsc: undefined, platform: 'kvm' };
  // biome-ignore format: one row a line
  for (const [what, verdict, of, labels] of [
    ['names readiness, release and platform', PROVEN_VERDICT, facts, { [LABEL]: 'true', ...known }],
    ['is false for False', BROKEN, facts, { [LABEL]: 'false', ...known, [GPU]: null }],
    ['is false for Unknown', UNKNOWN, facts, { [LABEL]: 'false', ...known }],
    ['keeps the labels of missing facts', PROVEN_VERDICT, {}, { [LABEL]: 'true' }],
    ['removes the label of an undefined fact', PROVEN_VERDICT, unknown, { [LABEL]: 'true', [RUNSC]: null, [PLATFORM]: 'kvm' }],
    ['removes the labels of missing facts on a failing node', BROKEN, {}, { [LABEL]: 'false', [RUNSC]: null, [PLATFORM]: null, [GPU]: null }],
    ['says that GPUs work', PROVEN_VERDICT, { gpu: 'true' }, { [LABEL]: 'true', [GPU]: 'true' }],
    ['says that they do not', PROVEN_VERDICT, { gpu: 'false' }, { [LABEL]: 'true', [GPU]: 'false' }],
    ['removes the label of a GPU driver that is gone', PROVEN_VERDICT, { gpu: undefined }, { [LABEL]: 'true', [GPU]: null }],
  ] as const) {
    it(what, () => assert.deepEqual(labelsFor(verdict, of as Facts), labels));
  }
});

describe('labelValue', () => {
  for (const [text, expected] of [
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
  ] as const) {
    it(`of "${text}" is ${expected}`, () => assert.equal(labelValue(text), expected));
  }

  it('is always valid or null', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 100 }), (text) => {
        const value = labelValue(text);
        assert.ok(value === null || /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(value));
      }),
    );
  });
});

describe('guardRollout', () => {
  const SELF = '0.2.0+b';
  const OTHER = '0.1.0+a';
  const claimant = { fingerprint: SELF, node: 'node-1' };

  for (const provenBy of [undefined, '', SELF, OTHER])
    it(`records a proof over "${provenBy}"`, () =>
      assert.deepEqual(guardRollout(PROVEN_VERDICT, provenBy, claimant), { provenBy: SELF }));

  for (const verdict of [BROKEN, UNKNOWN]) {
    for (const [provenBy, expected] of [
      [SELF, ''],
      ['', undefined],
      [undefined, undefined],
    ] as const)
      it(`lets ${verdict.status} pass over "${provenBy}"`, () =>
        assert.deepEqual(guardRollout(verdict, provenBy, claimant), { provenBy: expected }));

    it(`stops at ${verdict.status} over another agent's proof`, () => {
      const { reason, message } = verdict;
      assert.deepEqual(guardRollout(verdict, OTHER, claimant), {
        provenBy: undefined,
        refusal: `the node was proven by ${OTHER}; this ${SELF} says ${reason}: ${message}; to accept that: kubectl annotate node node-1 ${PROVEN_BY}-`,
      });
    });
  }
});

describe('fingerprintOf', () => {
  const fingerprint = (env: Record<string, string>, version = '0.1.0') =>
    fingerprintOf(version, parseConfig(env, { hostname: 'node-1', inCluster: false }).config);

  it('is the version with a digest, the same on every node', () => {
    assert.match(fingerprint({}), /^0\.1\.0\+[0-9a-f]{8}$/);
    assert.equal(fingerprint({ NODE_NAME: 'a' }), fingerprint({ NODE_NAME: 'b', LOG_LEVEL: 'debug' }));
    assert.notEqual(fingerprint({}, '0.2.0'), fingerprint({}));
  });

  for (const [name, value] of Object.entries({
    HANDLERS: 'nonsense',
    HOST_ROOT: '/host',
    CRI_SOCKET: '/a',
    CONTAINERD_CONFIG: '/a',
    REQUIRE_LIMITS: 'on',
    FORBID_FLAG_OVERRIDE: 'on',
    MIN_RUNSC_RELEASE: '20990101.0',
  }))
    it(`changes with ${name}`, () => assert.notEqual(fingerprint({ [name]: value }), fingerprint({})));
});
