import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { guardRollout } from '../../../agent/node/desired.ts';
import { READY, verdictOf } from '../reports.ts';

const SELF = '0.2.0+b';
const OTHER = '0.1.0+a';
const judge = { fingerprint: SELF, node: 'node-1' };

describe('guard', () => {
  for (const provenBy of [undefined, SELF, OTHER]) {
    it(`notes a proof over ${provenBy}`, () => {
      assert.deepEqual(guardRollout(READY, provenBy, judge), { provenBy: SELF });
    });
  }

  for (const status of ['False', 'Unknown'] as const) {
    const verdict = verdictOf(status, status === 'False' ? 'ShimNotFound' : 'ContainerdUnreachable');

    it(`takes its own proof back when it finds ${status}, holds nothing up, and keeps that there was one`, () => {
      assert.deepEqual(guardRollout(verdict, SELF, judge), { provenBy: '' });
      assert.deepEqual(guardRollout(verdict, '', judge), { provenBy: undefined });
      assert.deepEqual(guardRollout(verdict, undefined, judge), { provenBy: undefined });
    });

    it(`leaves another's proof when it finds ${status}, and says why the rollout waits`, () => {
      const { provenBy, refusal } = guardRollout(verdict, OTHER, judge);
      assert.equal(provenBy, undefined);
      assert.equal(
        refusal,
        `the node was proven by ${OTHER}; this ${SELF} says ${verdict.reason}: ${verdict.message}; to accept that: kubectl annotate node node-1 gvisor.node-restriction.kubernetes.io/proven-by-`,
      );
    });
  }
});
