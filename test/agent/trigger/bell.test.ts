import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { EventQueue } from '../../../agent/trigger/event-queue.ts';
import { collect } from '../collect.ts';

const NEVER = new AbortController().signal;

/** A bell on mocked time, and a way to let time pass in steps that leave room for what waits. */
function bellOf(t: TestContext, changes: Partial<ConstructorParameters<typeof EventQueue>[0]> = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const bell = new EventQueue<string>({
    debounceMs: 50,
    maxDelayMs: 500,
    burst: 3,
    refillMs: 4_000,
    now: () => Date.now(),
    ...changes,
  });
  const pass = async (ms: number, stepMs = 10) => {
    for (let passed = 0; passed < ms; passed += stepMs) {
      await turn();
      t.mock.timers.tick(stepMs);
    }
    await turn();
  };
  /** What a wait came to, and the time at which it did. */
  const wait = (timeoutMs: number, signal = NEVER) => {
    const ended: { words?: readonly string[]; atMs?: number; error?: unknown } = {};
    const done = bell.wait(timeoutMs, signal).then(
      (words) => Object.assign(ended, { words, atMs: Date.now() }),
      (error: unknown) => Object.assign(ended, { error, atMs: Date.now() }),
    );
    return { ended, done };
  };
  return { bell, pass, wait };
}

function turn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}

describe('Bell', () => {
  it('ends a wait without an event at the timeout', async (t) => {
    const { pass, wait } = bellOf(t);
    const { ended } = wait(1_000);
    await pass(990);
    assert.deepEqual(ended, {});
    await pass(10);
    assert.deepEqual(ended, { words: [], atMs: 1_000 });
  });

  it('keeps nothing of waits in which nothing rang', async () => {
    const now = () => performance.now();
    const bell = new EventQueue<string>({ debounceMs: 50, maxDelayMs: 500, burst: 3, refillMs: 0, now });
    const waits = async (many: number) => {
      for (let wait = 0; wait < many; wait++) await bell.wait(0, NEVER);
      // What is behind weak references goes some turns later.
      for (let turns = 0; turns < 5; turns++) {
        collect();
        await new Promise((wake) => setTimeout(wake, 20));
      }
      return process.memoryUsage().heapUsed;
    };
    const before = await waits(1_000);
    const grown = (await waits(3_000)) - before;
    assert.ok(grown < 500_000, `${grown} bytes more after 3,000 waits`);
  });

  it('asks the clock once for what it compares and waits for', async (t) => {
    const warned = t.mock.method(process, 'emitWarning', () => {});
    let nowMs = 0;
    const bell = new EventQueue<string>({
      debounceMs: 3,
      maxDelayMs: 500,
      burst: 3,
      refillMs: 0,
      now: () => {
        nowMs += 0.9;
        return nowMs;
      },
    });
    bell.push('file');
    assert.deepEqual(await bell.wait(1_000, NEVER), ['file']);
    assert.equal(warned.mock.callCount(), 0, 'a time to wait was negative');
  });

  it('makes one look of 10,000 rings, with each word once', async (t) => {
    const { bell, pass, wait } = bellOf(t);
    const { ended } = wait(60_000);
    for (let ring = 0; ring < 10_000; ring++) bell.push(`file ${ring % 3}`);
    await pass(50);
    assert.deepEqual(ended, { words: ['file 0', 'file 1', 'file 2'], atMs: 50 });
    const next = wait(1_000);
    await pass(1_000);
    assert.deepEqual(next.ended.words, []);
    assert.equal(next.ended.atMs, 1_050);
  });

  it('hears a ring from before the wait', async (t) => {
    const { bell, pass, wait } = bellOf(t);
    bell.push('early');
    const { ended } = wait(60_000);
    await pass(50);
    assert.deepEqual(ended.words, ['early']);
  });

  it('waits for quiet, but not for ever', async (t) => {
    const { bell, pass, wait } = bellOf(t);
    const { ended } = wait(60_000);
    for (let ring = 0; ring < 100; ring++) {
      bell.push('busy');
      await pass(10);
      if (ended.atMs !== undefined) break;
    }
    assert.deepEqual(ended, { words: ['busy'], atMs: 500 });
  });

  it('answers a burst at once, then one ring each refill, and a burst again after a rest', async (t) => {
    const { bell, pass, wait } = bellOf(t);
    const answeredAt = async () => {
      bell.push('again');
      const { ended } = wait(600_000);
      while (ended.atMs === undefined) await pass(50, 50);
      return ended.atMs;
    };
    const times: number[] = [];
    for (let look = 0; look < 6; look++) times.push(await answeredAt());
    assert.deepEqual(times, [50, 100, 150, 4_050, 8_050, 12_050]);
    await pass(12_000, 50);
    const rested = Date.now();
    times.length = 0;
    for (let look = 0; look < 4; look++) times.push((await answeredAt()) - rested);
    assert.deepEqual(times, [50, 100, 150, 4_050]);
  });

  it('keeps its deadline although a ring is held back', async (t) => {
    const { bell, pass, wait } = bellOf(t, { burst: 1 });
    bell.push('first');
    wait(600_000);
    await pass(50);
    bell.push('held back');
    const due = wait(500);
    await pass(490);
    assert.deepEqual(due.ended, {});
    await pass(10);
    assert.deepEqual(due.ended.words, ['held back']);
  });

  it('rejects when it is aborted while nothing rings, while it gathers, and while it is held back', async (t) => {
    const { bell, pass, wait } = bellOf(t, { burst: 1 });
    const stops = [new AbortController(), new AbortController(), new AbortController()] as const;
    const idle = wait(60_000, stops[0].signal);
    stops[0].abort();
    await idle.done;
    assert.equal((idle.ended.error as Error).name, 'AbortError');

    const gathering = wait(60_000, stops[1].signal);
    bell.push('one');
    await pass(10);
    stops[1].abort();
    await gathering.done;
    assert.equal((gathering.ended.error as Error).name, 'AbortError');

    const answered = wait(60_000);
    await pass(100);
    assert.deepEqual(answered.ended.words, ['one']);
    bell.push('two');
    const held = wait(60_000, stops[2].signal);
    await pass(1_000);
    assert.deepEqual(held.ended, {});
    stops[2].abort();
    await held.done;
    assert.equal((held.ended.error as Error).name, 'AbortError');
  });
});
