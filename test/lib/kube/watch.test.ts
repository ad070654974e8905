import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import pino from 'pino';
import type { Kube, WatchEvent } from '../../../lib/kube/client.ts';
import { KubeError } from '../../../lib/kube/error.ts';
import { keepWatching, type WatchOptions } from '../../../lib/kube/watch.ts';

/** How long a watch lives, the events that it has, and the error that ends it; without one the server ends it. */
type Watch = {
  readonly forMs?: number;
  readonly events?: readonly WatchEvent['type'][];
  readonly error?: Error;
};

/** Follows these watches until the pause after the last. Pauses take no time, and their jitter is its middle. */
async function follow(t: TestContext, watches: readonly Watch[], options: Partial<WatchOptions> = {}) {
  const clock = { nowMs: 0 };
  t.mock.method(performance, 'now', () => clock.nowMs);
  t.mock.method(Math, 'random', () => 0.5);
  const stop = new AbortController();
  const pauses: number[] = [];
  t.mock.method(timers, 'setTimeout', async (ms: number) => {
    pauses.push(ms);
    if (pauses.length === watches.length) stop.abort();
  });
  const paths: string[] = [];
  const events: string[] = [];
  const ends: (string | undefined)[] = [];
  const kube: Pick<Kube, 'watch'> = {
    watch: async function* (path) {
      const { forMs = 0, events: types = [], error } = watches[paths.length] ?? {};
      paths.push(path);
      for (const type of types) yield { type, object: {} };
      clock.nowMs += forMs;
      if (error !== undefined) throw error;
    },
  };
  const followed = {
    kube: kube as Kube,
    path: '/api/v1/nodes?fieldSelector=a',
    log: pino({ level: 'silent' }),
    onEvent: ({ type }: WatchEvent) => events.push(type),
    onEnd: (problem: unknown) => ends.push((problem as Error | undefined)?.message),
    ...options,
  };
  await keepWatching(followed, stop.signal);
  return { pauses, paths, events, ends };
}

const BROKEN: Watch = { error: new Error('broken') };
const LONG_MS = 45_001;

describe('keepWatching', () => {
  it('begins each watch anew, or where it is told to', async (t) => {
    const query = (version: string) =>
      `/api/v1/nodes?fieldSelector=a&watch=1&allowWatchBookmarks=true&resourceVersion=${version}&timeoutSeconds=3600`;
    assert.deepEqual((await follow(t, [{}, {}])).paths, [query('0'), query('0')]);
    t.mock.restoreAll();
    const versions = ['7', '9'];
    const begin = async () => versions.shift() ?? '';
    assert.deepEqual((await follow(t, [{}, {}], { begin })).paths, [query('7'), query('9')]);
  });

  it('pauses twice as long after each short watch, up to a limit', async (t) => {
    const watches = [BROKEN, {}, { ...BROKEN, forMs: LONG_MS - 1 }, {}, {}, BROKEN, BROKEN];
    const { pauses } = await follow(t, watches);
    assert.deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
  });

  for (const [what, long] of [
    ['that the server ended', { forMs: LONG_MS }],
    ['that broke', { ...BROKEN, forMs: LONG_MS }],
  ] as const)
    it(`pauses as after the first one after a long watch ${what}`, async (t) => {
      const { pauses } = await follow(t, [BROKEN, BROKEN, long, BROKEN]);
      assert.deepEqual(pauses, [1_000, 2_000, 1_000, 2_000]);
    });

  it("pauses at least as long as the server's Retry-After", async (t) => {
    const error = new KubeError('slow down', 429, 60_000);
    const { pauses } = await follow(t, [{ error }, BROKEN]);
    assert.deepEqual(pauses, [67_500, 2_000]);
  });

  it('tells each end after the events before it, with what ended it', async (t) => {
    const { events, ends } = await follow(t, [{ events: ['ADDED', 'BOOKMARK'] }, BROKEN, {}]);
    assert.deepEqual(events, ['ADDED', 'BOOKMARK']);
    assert.deepEqual(ends, [undefined, 'broken', undefined]);
    t.mock.restoreAll();
    const begin = () => Promise.reject(new Error('no list'));
    assert.deepEqual((await follow(t, [{}], { begin })).ends, ['no list']);
  });
});
