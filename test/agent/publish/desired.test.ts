import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  desiredOf,
  fingerprintOf,
  guardRollout,
  labelsFor,
  labelValue,
  seenIn,
} from '../../../agent/publish/desired.ts';
import { parseConfig } from '../../../agent/start/config.ts';
import type { Facts } from '../../../lib/host/system.ts';
import { handlerKey, type NodeObject, OWN_KEYS } from '../../../lib/report/node-object.ts';
import type { Verdict } from '../../../lib/report/verdict.ts';
import { PROVEN_VERDICT, reportOf, verdictOf } from '../reports.ts';
import { announcersOf } from './publisher-of.ts';

const { ready: LABEL, expected: EXPECTED } = OWN_KEYS.labels;
const { runscVersion: RUNSC, platform: PLATFORM, gpu: GPU } = OWN_KEYS.labels;
const { provenBy: PROVEN_BY, provenBoot: PROVEN_BOOT, failedBoot: FAILED_BOOT } = OWN_KEYS.annotations;
const BROKEN = verdictOf('False', 'ShimNotFound');
const UNKNOWN = verdictOf('Unknown', 'ContainerdUnreachable');
const BOOT = 'boot-2';
const OLD_BOOT = 'boot-1';

/** The desired values of a Node with these verdicts on the handlers runsc and kvm, by key. */
function desired(
  verdicts: Readonly<Record<string, Verdict>>,
  node: NodeObject,
  { isUnguarded = false, expected }: { isUnguarded?: boolean; expected?: boolean } = {},
) {
  const claimant = { node: 'node-1', fingerprint: 'f', boot: BOOT, taint: false, handlers: ['runsc', 'kvm'] };
  const changes = expected === undefined ? {} : { expected };
  const { say, tell } = announcersOf();
  for (const [handler, verdict] of Object.entries(verdicts))
    tell(reportOf({ handler, verdict, facts: {}, ...changes }));
  const seen = [...seenIn(node, claimant, isUnguarded)];
  const said = new Map(seen.map(([handler, each]) => [handler, say(handler, each)] as const));
  const { entries } = desiredOf(said, node, claimant);
  return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
}

function nodeOf(
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>> = {},
  bootID?: string,
): NodeObject {
  const metadata = { name: 'node-1', uid: 'u', resourceVersion: '1', labels, annotations };
  return { metadata, status: bootID === undefined ? {} : { nodeInfo: { bootID } } };
}

for (const [handler, ready, provenBoot] of [
  ['runsc', LABEL, PROVEN_BOOT],
  ['kvm', handlerKey('ready', 'kvm'), handlerKey('provenBoot', 'kvm')],
] as const)
  describe(`desiredOf, of the handler ${handler}`, () => {
    const of = (values: Readonly<Record<string, unknown>>) => [values[ready], values[provenBoot]];

    for (const [label, boot, expected] of [
      ['true', BOOT, undefined],
      ['true', OLD_BOOT, 'false'],
      ['true', '', 'false'],
      ['true', undefined, 'false'],
      ['false', OLD_BOOT, undefined],
      [undefined, OLD_BOOT, undefined],
    ] as const)
      it(`before the first verdict: label ${label}, proven in boot ${boot}`, () => {
        const labels = label === undefined ? {} : { [ready]: label };
        const node = nodeOf(labels, boot === undefined ? {} : { [provenBoot]: boot });
        assert.deepEqual(of(desired({}, node)), [expected, undefined]);
      });

    for (const reported of [undefined, '', BOOT, OLD_BOOT]) {
      const isWithheld = reported === OLD_BOOT;
      it(`${isWithheld ? 'withholds' : 'grants'} it if the kubelet reports boot ${reported}`, () => {
        const values = desired({ [handler]: PROVEN_VERDICT }, nodeOf({}, {}, reported));
        assert.deepEqual(of(values), isWithheld ? ['false', undefined] : ['true', BOOT]);
      });
    }

    for (const verdict of [BROKEN, UNKNOWN])
      it(`withdraws the label for ${verdict.status}, and keeps the boot`, () => {
        const proven = nodeOf({ [ready]: 'true' }, { [provenBoot]: BOOT });
        assert.deepEqual(of(desired({ [handler]: verdict }, proven)), ['false', undefined]);
      });

    it('grants no label without a policy in force, and keeps one', () => {
      for (const [label, value] of [
        ['false', 'false'],
        ['true', 'true'],
      ] as const) {
        const node = nodeOf({ [ready]: label }, { [provenBoot]: BOOT });
        const values = desired({ [handler]: PROVEN_VERDICT }, node, { isUnguarded: true });
        assert.equal(values[ready], value);
      }
    });
  });

describe('desiredOf', () => {
  for (const [verdict, reported, boot] of [
    [BROKEN, BOOT, BOOT],
    [BROKEN, '', BOOT],
    [BROKEN, OLD_BOOT, OLD_BOOT],
    [UNKNOWN, BOOT, null],
    [PROVEN_VERDICT, BOOT, null],
  ] as const)
    it(`notes boot ${boot} of a failure for ${verdict.status}, if the kubelet reports "${reported}"`, () => {
      const failed = { [FAILED_BOOT]: 'boot-0' };
      assert.equal(desired({ runsc: verdict }, nodeOf({}, failed, reported))[FAILED_BOOT], boot);
    });

  it('leaves the boot of a failure of its predecessor until the first verdict', () => {
    assert.deepEqual(desired({}, nodeOf({}, { [FAILED_BOOT]: OLD_BOOT })), {});
  });

  it('removes the keys of handlers that are no longer proven, and no others', () => {
    const [gone, goneBoot] = [handlerKey('ready', 'debug'), handlerKey('provenBoot', 'debug')];
    const own = { [handlerKey('ready', 'kvm')]: 'true', [LABEL]: 'true', [gone]: 'true', other: 'x' };
    const boots = { [handlerKey('provenBoot', 'kvm')]: BOOT, [PROVEN_BOOT]: BOOT, [goneBoot]: BOOT };
    assert.deepEqual(desired({}, nodeOf(own, boots)), { [gone]: null, [goneBoot]: null });
  });

  it('removes the keys that the main handler had as an additional one', () => {
    const [ready, boot] = [handlerKey('ready', 'runsc'), handlerKey('provenBoot', 'runsc')];
    const node = nodeOf({ [ready]: 'true' }, { [boot]: BOOT });
    assert.deepEqual(desired({}, node), { [ready]: null, [boot]: null });
  });

  it('says whether the node is expected, but never "false" of a node that is labelled', () => {
    for (const [label, expected, value] of [
      ['true', true, 'true'],
      ['true', false, undefined],
      ['false', false, 'false'],
      ['false', undefined, undefined],
    ] as const) {
      const changes = expected === undefined ? {} : { expected };
      assert.equal(desired({ runsc: BROKEN }, nodeOf({ [LABEL]: label }), changes)[EXPECTED], value);
    }
  });
});

describe('labelsFor', () => {
  const facts = { runsc: 'release-20260223.0', platform: 'systrap' };
  const known = { [RUNSC]: facts.runsc, [PLATFORM]: 'systrap' };
  const unknown = { runsc: undefined, platform: 'kvm' };
  // biome-ignore format: one row a line
  for (const [what, verdict, of, labels] of [
    ['names release and platform', PROVEN_VERDICT, facts, { ...known }],
    ['removes the GPU driver for False', BROKEN, facts, { ...known, [GPU]: null }],
    ['keeps what is known for Unknown', UNKNOWN, facts, { ...known }],
    ['keeps the labels of missing facts', PROVEN_VERDICT, {}, {}],
    ['removes the label of an undefined fact', PROVEN_VERDICT, unknown, { [RUNSC]: null, [PLATFORM]: 'kvm' }],
    ['removes the labels of missing facts on a failing node', BROKEN, {}, { [RUNSC]: null, [PLATFORM]: null, [GPU]: null }],
    ['says that GPUs work', PROVEN_VERDICT, { gpu: 'true' }, { [GPU]: 'true' }],
    ['says that they do not', PROVEN_VERDICT, { gpu: 'false' }, { [GPU]: 'false' }],
    ['removes the label of a GPU driver that is gone', PROVEN_VERDICT, { gpu: undefined }, { [GPU]: null }],
  ] as const) {
    it(what, () => assert.deepEqual(labelsFor(verdict, of as Facts), labels));
  }
});

describe('labelValue', () => {
  for (const [text, expected] of [
    ['0.0~20240729.0', '0.0-20240729.0'],
    ['release 1 (dirty)', 'release-1-dirty'],
    ['_.-x-._', 'x'],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
    ['---', null],
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
    for (const provenBy of [SELF, '', undefined])
      it(`lets ${verdict.status} pass over "${provenBy}"`, () => {
        const expected = provenBy === SELF ? '' : undefined;
        assert.deepEqual(guardRollout(verdict, provenBy, claimant), { provenBy: expected });
      });

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
