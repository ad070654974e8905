import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { canaryPodOf, failingCanaries } from '../../controller/canaries.ts';

const NOW = '2026-03-01T12:00:00Z';
const podOf = (ready: 'True' | 'False' | undefined, since: string): V1Pod => ({
  metadata: { creationTimestamp: new Date(since) },
  spec: { nodeName: 'a', containers: [] },
  status: {
    conditions: ready ? [{ type: 'Ready', status: ready, lastTransitionTime: new Date(since) }] : [],
  },
});

const TABLE: readonly (readonly [what: string, pod: V1Pod, fails: boolean])[] = [
  ['runs', podOf('True', '2026-03-01T11:00:00Z'), false],
  ['makes another sandbox', podOf('False', '2026-03-01T11:59:30Z'), false],
  ['gets no sandbox for five minutes', podOf('False', '2026-03-01T11:55:00Z'), true],
  ['was never looked at by its kubelet', podOf(undefined, '2026-03-01T11:55:00Z'), true],
  ['has no node', { ...podOf('False', '2026-03-01T11:55:00Z'), spec: { containers: [] } }, false],
  [
    'is being deleted',
    { ...podOf('False', '2026-03-01T11:55:00Z'), metadata: { deletionTimestamp: new Date(NOW) } },
    false,
  ],
];

describe('a canary', () => {
  for (const [what, pod, fails] of TABLE)
    it(`${fails ? 'fails' : 'does not fail'} if it ${what}`, () => {
      const kept = canaryPodOf(pod);
      const failing = failingCanaries(kept === undefined ? [] : [kept], Date.parse(NOW));
      assert.deepEqual(failing, fails ? ['a'] : []);
    });
});
