import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { desiredHandlers, handlersProvenOnce } from '../../../agent/node/handlers.ts';
import type { NodeObject } from '../../../agent/node/object.ts';
import type { Verdict } from '../../../agent/verdict.ts';
import { PROVEN_VERDICT, verdictOf } from '../reports.ts';

const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const LABEL = `${DOMAIN}/ready-kvm`;
const PROVEN_BOOT = `${DOMAIN}/proven-boot-kvm`;
const BOOT = 'boot-2';
const OLD_BOOT = 'boot-1';

type Texts = Readonly<Record<string, string>>;

function nodeOf(labels: Texts, annotations: Texts = {}, bootID?: string): NodeObject {
  const metadata = { name: 'node-1', uid: 'u', resourceVersion: '1', labels, annotations };
  return { metadata, status: bootID === undefined ? {} : { nodeInfo: { bootID } } };
}

/** The desired values by key. */
function desired(verdicts: readonly (readonly [string, Verdict | undefined])[], node: NodeObject) {
  const entries = desiredHandlers(new Map(verdicts), node, BOOT);
  return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
}

describe('desiredHandlers', () => {
  const bare = nodeOf({});
  it('labels a proven handler, and notes the boot', () => {
    assert.deepEqual(desired([['kvm', PROVEN_VERDICT]], bare), { [LABEL]: 'true', [PROVEN_BOOT]: BOOT });
    const parts = desiredHandlers(new Map([['kvm', PROVEN_VERDICT]]), bare, BOOT).map(({ part }) => part);
    assert.deepEqual(parts, ['labels', 'annotations']);
  });

  for (const verdict of [verdictOf('False', 'ShimNotFound'), verdictOf('Unknown', 'CheckFailed')])
    it(`withdraws the label of a handler that is ${verdict.status}, and keeps the boot`, () => {
      const proven = nodeOf({ [LABEL]: 'true' }, { [PROVEN_BOOT]: BOOT });
      assert.deepEqual(desired([['kvm', verdict]], proven), { [LABEL]: 'false' });
    });

  it('withholds a proof while the kubelet reports another boot', () => {
    const rebooted = nodeOf({}, {}, OLD_BOOT);
    assert.deepEqual(desired([['kvm', PROVEN_VERDICT]], rebooted), { [LABEL]: 'false' });
  });

  for (const [label, boot, expected] of [
    ['true', BOOT, {}],
    ['true', OLD_BOOT, { [LABEL]: 'false' }],
    ['true', undefined, { [LABEL]: 'false' }],
    ['false', OLD_BOOT, {}],
  ] as const)
    it(`before the first verdict: label ${label}, proven in ${boot}`, () => {
      const node = nodeOf({ [LABEL]: label }, boot === undefined ? {} : { [PROVEN_BOOT]: boot });
      assert.deepEqual(desired([['kvm', undefined]], node), expected);
    });

  it('removes the keys of handlers that are no longer proven, and no others', () => {
    const node = nodeOf(
      { [LABEL]: 'true', [`${DOMAIN}/ready`]: 'true', [`${DOMAIN}/ready-debug`]: 'true', other: 'x' },
      { [PROVEN_BOOT]: BOOT, [`${DOMAIN}/proven-boot`]: BOOT, [`${DOMAIN}/proven-boot-debug`]: BOOT },
    );
    const expected = { [`${DOMAIN}/ready-debug`]: null, [`${DOMAIN}/proven-boot-debug`]: null };
    assert.deepEqual(desired([['kvm', undefined]], node), expected);
  });
});

it('handlersProvenOnce lists the handlers that were ever proven', () => {
  const { metadata } = nodeOf({}, { [PROVEN_BOOT]: OLD_BOOT, [`${DOMAIN}/proven-boot`]: BOOT });
  assert.deepEqual(handlersProvenOnce(metadata), ['kvm']);
});
