import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Answer, refusal } from '../fake-api-server.ts';
import { BROKEN, settled, until } from './publisher-of.ts';

const FORBIDDEN = refusal(403, 'nodes "node-1" is forbidden: no');

/** A publisher that has written once, and then fails with each of these answers, this long after the one before. */
async function failing(t: TestContext, everyMs: number, answers: readonly Answer[]) {
  t.mock.method(Math, 'random', () => 0.5);
  const all = await settled(t);
  all.server.script.push(...answers);
  all.publisher.publish(BROKEN);
  const seen: (string | undefined)[] = [];
  for (const index of answers.keys()) {
    await all.logged('cannot write the node');
    const { end } = await all.pause(1, index);
    seen.push(all.publisher.unready);
    all.clock.nowMs += everyMs;
    if (index < answers.length - 1) end();
  }
  return { ...all, seen, retry: async () => (await all.pause(1, answers.length - 1)).end() };
}

describe('a Node that cannot be written', () => {
  it('makes the agent unready after five minutes, with a line in the log, until it is written again', async (t) => {
    const { seen, logged, publisher, server, retry } = await failing(t, 75_000, Array(6).fill(FORBIDDEN));
    // The first try patches; each one after a failure reads the Node first.
    const read =
      'the Node could not be written for 5 min: GET /api/v1/nodes/node-1: 403 nodes "node-1" is forbidden: no';
    assert.deepEqual(seen, [
      undefined,
      undefined,
      undefined,
      undefined,
      read,
      read.replace('5 min', '6 min'),
    ]);
    await retry();
    const { failedForMs } = await logged('the node can be written again');
    assert.equal(failedForMs, 450_000);
    await until('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
  });

  it('says once at warn for how long it fails', async (t) => {
    const { logged, seen } = await failing(t, 75_000, Array(5).fill(FORBIDDEN));
    assert.notEqual(seen.at(-1), undefined);
    const { level, err } = await logged('not ready: the node could not be written for minutes');
    assert.deepEqual(
      [level, (err as Error).message],
      [40, 'GET /api/v1/nodes/node-1: 403 nodes "node-1" is forbidden: no'],
    );
  });

  it('leaves the agent ready while it has failed for a short time, or not often', async (t) => {
    const short = await failing(t, 1_000, Array(8).fill(FORBIDDEN));
    assert.deepEqual(short.seen, Array(8).fill(undefined));
  });

  it('leaves the agent ready after few tries, however long they took', async (t) => {
    const { seen } = await failing(t, 300_000, Array(4).fill(FORBIDDEN));
    assert.deepEqual(seen, Array(4).fill(undefined));
  });
});
