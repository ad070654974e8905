import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { noteOf, rolloutOf } from '../../../lib/fleet/rollout.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';

const { done, atWork, interrupted, failed } = INSTALLATIONS;

describe('rolloutOf', () => {
  it('is undefined where the installer was used nowhere', () => {
    assert.equal(rolloutOf([]), undefined);
  });

  it('counts releases and failures, and names the nodes that are not done', () => {
    const rollout = rolloutOf([
      ['a', done],
      ['b', { installed: 'release-20260223.0' }],
      ['c', atWork],
      ['d', interrupted],
      ['e', failed],
      ['f', { failure: { ...failed.failure, reason: undefined as never } }],
    ]);
    assert.deepEqual(rollout, {
      installed: { 'release-20250203.0': 3, 'release-20260223.0': 1 },
      underWay: ['c'],
      interrupted: ['d'],
      failed: { RunscNotExecutable: ['e'], 'pre-prove': ['f'] },
      text: 'release-20250203.0 on 3, release-20260223.0 on 1, at work on c, interrupted on d, failed on e (RunscNotExecutable), failed on f (pre-prove)',
    });
  });

  it('says who waits for a turn, also before the first installation', () => {
    const waiting = ['f', 'g'].map((node) => ({ node, since: '2026-11-25T12:00:00Z', for: 'e' }));
    const rollout = rolloutOf([], waiting);
    assert.deepEqual(rollout?.waiting, waiting);
    assert.equal(rollout?.text, 'f and 1 more wait since 2026-11-25 12:00:00 UTC for e');
  });

  it('names three of many nodes', () => {
    const { text } = rolloutOf(Array.from({ length: 9 }, (_, at) => [`n${at}`, interrupted])) ?? {};
    assert.equal(text, 'interrupted on n0, n1, n2 and 6 more');
  });
});

describe('noteOf', () => {
  it('says what is wrong', () => {
    assert.deepEqual([{}, done, atWork, interrupted, failed].map(noteOf), [
      '',
      '',
      '',
      'installation of release-20260223.0 interrupted',
      'release-20260224.0 failed: RunscNotExecutable',
    ]);
  });
});
