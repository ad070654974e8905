import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { EventQueue, isChange, type Trigger, triggerText } from '../../../agent/trigger/event-queue.ts';
import { collect } from '../collect.ts';

const NEVER = new AbortController().signal;

/** A queue on mocked time, and a way to let time pass in small steps. */
function queueOf(t: TestContext, changes: Partial<ConstructorParameters<typeof EventQueue>[0]> = {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const queue = new EventQueue<string>({
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
  /** The result of a wait, and when it ended. */
  const wait = (timeoutMs: number, signal = NEVER) => {
    const ended: { events?: readonly string[]; atMs?: number; error?: unknown } = {};
    const done = queue.wait(timeoutMs, signal).then(
      (events) => Object.assign(ended, { events, atMs: Date.now() }),
      (error: unknown) => Object.assign(ended, { error, atMs: Date.now() }),
    );
    return { ended, done };
  };
  return { queue, pass, wait };
}

function turn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}

describe('EventQueue', () => {
  it('resolves empty on timeout', async (t) => {
    const { pass, wait } = queueOf(t);
    const { ended } = wait(1_000);
    await pass(990);
    assert.deepEqual(ended, {});
    await pass(10);
    assert.deepEqual(ended, { events: [], atMs: 1_000 });
  });

  it('leaks no memory while idle', async () => {
    const now = () => performance.now();
    const queue = new EventQueue<string>({ debounceMs: 50, maxDelayMs: 500, burst: 3, refillMs: 0, now });
    const waits = async (count: number) => {
      for (let wait = 0; wait < count; wait++) await queue.wait(0, NEVER);
      // Weakly referenced objects are collected some turns later.
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

  it('never sets a timer with a negative delay', async (t) => {
    const warned = t.mock.method(process, 'emitWarning', () => {});
    let nowMs = 0;
    const now = () => (nowMs += 0.9);
    const queue = new EventQueue<string>({ debounceMs: 3, maxDelayMs: 500, burst: 3, refillMs: 0, now });
    queue.push('file');
    assert.deepEqual(await queue.wait(1_000, NEVER), ['file']);
    assert.equal(warned.mock.callCount(), 0, 'a time to wait was negative');
  });

  it('deduplicates 10,000 events into one batch', async (t) => {
    const { queue, pass, wait } = queueOf(t);
    const { ended } = wait(60_000);
    for (let count = 0; count < 10_000; count++) queue.push(`file ${count % 3}`);
    await pass(50);
    assert.deepEqual(ended, { events: ['file 0', 'file 1', 'file 2'], atMs: 50 });
    const next = wait(1_000);
    await pass(1_000);
    assert.deepEqual(next.ended, { events: [], atMs: 1_050 });
  });

  it('debounces up to the maximum delay', async (t) => {
    const { queue, pass, wait } = queueOf(t);
    const { ended } = wait(60_000);
    for (let count = 0; count < 100; count++) {
      queue.push('busy');
      await pass(10);
      if (ended.atMs !== undefined) break;
    }
    assert.deepEqual(ended, { events: ['busy'], atMs: 500 });
  });

  it('allows a burst, then one batch per refill, and a burst again after a pause', async (t) => {
    const { queue, pass, wait } = queueOf(t);
    const deliveries = async (count: number) => {
      const times: number[] = [];
      for (const begunMs = Date.now(); times.length < count; ) {
        queue.push('again');
        const { ended } = wait(600_000);
        while (ended.atMs === undefined) await pass(50, 50);
        times.push(ended.atMs - begunMs);
      }
      return times;
    };
    assert.deepEqual(await deliveries(6), [50, 100, 150, 4_050, 8_050, 12_050]);
    await pass(12_000, 50);
    assert.deepEqual(await deliveries(4), [50, 100, 150, 4_050]);
  });

  it('keeps its timeout while the rate limit delays an event', async (t) => {
    const { queue, pass, wait } = queueOf(t, { burst: 1 });
    queue.push('first');
    wait(600_000);
    await pass(50);
    queue.push('delayed');
    const due = wait(500);
    await pass(490);
    assert.deepEqual(due.ended, {});
    await pass(10);
    assert.deepEqual(due.ended.events, ['delayed']);
  });

  it('rejects when it is aborted while idle, debouncing, or rate limited', async (t) => {
    const { queue, pass, wait } = queueOf(t, { burst: 1 });
    const abort = async ({ ended, done }: ReturnType<typeof wait>, stop: AbortController) => {
      stop.abort();
      await done;
      assert.equal((ended.error as Error).name, 'AbortError');
    };
    const [idle, debounce, limit] = [new AbortController(), new AbortController(), new AbortController()];
    await abort(wait(60_000, idle.signal), idle);

    const debouncing = wait(60_000, debounce.signal);
    queue.push('one');
    await pass(10);
    await abort(debouncing, debounce);

    const delivered = wait(60_000);
    await pass(100);
    assert.deepEqual(delivered.ended.events, ['one']);
    queue.push('two');
    const limited = wait(60_000, limit.signal);
    await pass(1_000);
    assert.deepEqual(limited.ended, {});
    await abort(limited, limit);
  });
});

describe('isChange', () => {
  const table: readonly [Trigger, boolean][] = [
    [{ kind: 'start' }, true],
    [{ kind: 'file', path: '/usr/local/bin/runsc' }, true],
    [{ kind: 'containerd', state: 'gone' }, true],
    [{ kind: 'containerd', state: 'back' }, true],
    [{ kind: 'containerd', state: 'slow' }, false],
    [{ kind: 'containerd', state: 'responsive' }, false],
    [{ kind: 'timer' }, false],
    [{ kind: 'confirm' }, false],
    [{ kind: 'probe' }, false],
  ];
  for (const [trigger, expected] of table)
    it(`is ${expected} for "${triggerText(trigger)}"`, () => assert.equal(isChange(trigger), expected));
});
