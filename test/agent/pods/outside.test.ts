import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Pod } from '../../../agent/pods/pod.ts';
import { podsReport } from '../../../agent/pods/pod.ts';

const pod = (name: string, sandboxed?: boolean): Pod => ({
  namespace: 'eval',
  name,
  uid: name,
  handler: '',
  evidence: 'process 1 is "pause"',
  ...(sandboxed === undefined ? {} : { sandboxed }),
});

describe('podsOutside', () => {
  const [inside, untold, forbidden, allowed] = [pod('a', true), pod('b'), pod('c', false), pod('d', false)];
  const weakened = [{ ...inside, weak: [] }];
  const seen = { pods: [inside, untold, forbidden, allowed], unsandboxed: [forbidden], weakened, atMs: 0 };

  it('tells pods outside of gVisor where it is required from those elsewhere, and from those nobody could tell of', () => {
    const outside = podsReport(seen, true, 3_000);
    assert.deepEqual(outside, {
      at: '1970-01-01T00:00:00.000Z',
      stale: false,
      running: 4,
      requirementsKnown: true,
      violating: [forbidden],
      permitted: [allowed],
      unknown: [untold],
      weakened,
      sandboxedUids: ['a'],
    });
  });

  it('is stale once the pods were not read for a while', () =>
    assert.equal(podsReport(seen, false, 46_000).stale, true));
});
