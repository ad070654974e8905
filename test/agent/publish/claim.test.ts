import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Claim } from '../../../agent/publish/claim.ts';

const STARTED = new Date('2026-03-01T10:00:00.000Z');
const LATER = '2026-03-01T10:00:00.001Z 0.2.0+b';
const claimOf = () => new Claim(STARTED, '0.1.0+a');

describe('Claim', () => {
  it('says when the agent started and what it is', () => {
    assert.equal(claimOf().text, '2026-03-01T10:00:00.000Z 0.1.0+a');
  });

  const held: readonly [string, string | undefined, string][] = [
    ['nobody', undefined, 'write'],
    ['itself', claimOf().text, 'write'],
    ['an earlier agent', '2026-03-01T09:59:59.999Z 0.0.9', 'write'],
    ['a later agent', LATER, 'yield'],
    ['nonsense', 'zzz', 'write'],
    ['nothing', '', 'write'],
  ];
  for (const [who, text, turn] of held) {
    it(`${turn}s when the claim is held by ${who}`, () => assert.equal(claimOf().turn(text, false, 0), turn));
  }

  it('asks a later agent after a look, and no more than every ten seconds', () => {
    const claim = claimOf();
    assert.equal(claim.turn(LATER, true, 0), 'ask');
    assert.deepEqual(claim.turn(LATER, true, 9_999), { waitMs: 1 });
    assert.equal(claim.turn(LATER, false, 10_000), 'yield');
    assert.equal(claim.turn(LATER, true, 10_000), 'ask');
  });

  it('gives the later agent five seconds to answer, and writes when it does not', () => {
    const claim = claimOf();
    claim.turn(LATER, true, 1_000);
    assert.deepEqual(claim.turn(claim.text, false, 1_000), { waitMs: 5_000 });
    assert.deepEqual(claim.turn(claim.text, true, 5_999), { waitMs: 1 });
    assert.equal(claim.turn(claim.text, false, 6_000), 'write');
  });

  it('yields again when the later agent answers', () => {
    const claim = claimOf();
    claim.turn(LATER, true, 0);
    assert.equal(claim.turn(LATER, false, 1_000), 'yield');
    assert.equal(claim.turn(claim.text, false, 2_000), 'write', 'the later agent gave the claim up');
  });
});
