import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import timers from 'node:timers/promises';
import { ProofTurns } from '../../../agent/proof/turns.ts';

const FOREVER_MS = 2 ** 31 - 1;

describe('Turns', () => {
  it('runs one probe after the other, in the order of the requests', async () => {
    const turns = new ProofTurns(FOREVER_MS);
    const log: string[] = [];
    const probes = ['a', 'b', 'c'].map((name) => ({ name, ...Promise.withResolvers<string>() }));
    const results = probes.map(({ name, promise }) =>
      turns.run(() => {
        log.push(`${name} begins`);
        return promise;
      }),
    );
    for (const { name, resolve } of probes) {
      await timers.setImmediate();
      log.push(`${name} ends`);
      resolve(name);
    }
    assert.deepEqual(await Promise.all(results), ['a', 'b', 'c']);
    assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('does not wait for a probe that takes too long, whose result still arrives', async () => {
    const turns = new ProofTurns(1);
    const { promise, resolve } = Promise.withResolvers<string>();
    const result = turns.run(() => promise);
    assert.equal(await turns.run(async () => 'next'), 'next');
    resolve('late');
    assert.equal(await result, 'late');
  });
});
