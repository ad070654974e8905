import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import timers from 'node:timers/promises';
import { Turns } from '../../../../lib/node/proof/turns.ts';

const FOREVER_MS = 2 ** 31 - 1;

/** A probe that ends when the test says so. */
function openProbe(log: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<string>();
  const probe = () => {
    log.push(`${name} begins`);
    return promise;
  };
  const end = () => {
    log.push(`${name} ends`);
    resolve(name);
  };
  return { probe, end };
}

describe('Turns', () => {
  it('runs one probe after the other, in the order of the requests', async () => {
    const turns = new Turns(FOREVER_MS);
    const log: string[] = [];
    const probes = ['a', 'b', 'c'].map((name) => openProbe(log, name));
    const results = probes.map(({ probe }) => turns.run(probe));
    for (const { end } of probes) {
      await timers.setImmediate();
      end();
    }
    assert.deepEqual(await Promise.all(results), ['a', 'b', 'c']);
    assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('does not wait for a probe that takes too long, whose result still arrives', async () => {
    const turns = new Turns(1);
    const log: string[] = [];
    const hung = openProbe(log, 'hung');
    const result = turns.run(hung.probe);
    assert.equal(await turns.run(async () => 'next'), 'next');
    hung.end();
    assert.equal(await result, 'hung');
    assert.deepEqual(log, ['hung begins', 'hung ends']);
  });
});
