import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { TimerOptions } from 'node:timers';
import timers from 'node:timers/promises';
import { watchContainerd } from '../../../agent/trigger/containerd.ts';
import { HANGS } from '../../lib/proof/containerd-scripts.ts';
import { clientOf, fakeContainerd } from '../../lib/proof/fake-containerd.ts';
import { gate } from '../../lib/proof/scene.ts';

const RARE = { pollMs: 60_000, slowMs: 60_000, hungMs: 60_000 };

/** A watch of a fake containerd that has responded once; `next` resolves with the next change. */
async function watched(t: TestContext, times: Partial<typeof RARE> = {}) {
  const stop = new AbortController();
  let done = Promise.resolve();
  // Before the fake's own, which closes the client.
  t.after(async () => {
    stop.abort();
    await done;
  });
  const { containerd, client } = await fakeContainerd(t);
  const changes: string[] = [];
  let changed = Promise.withResolvers<void>();
  const requested = containerd.called('Version');
  const onChange = (state: string) => {
    changes.push(state);
    changed.resolve();
  };
  done = watchContainerd(client, onChange, stop.signal, { ...RARE, ...times });
  await requested;
  await client.version(); // the first response has been processed by now
  const next = async () => {
    while (changes.length === 0) {
      await changed.promise;
      changed = Promise.withResolvers<void>();
    }
    return changes.shift();
  };
  return { containerd, client, stop, done, changes, next };
}

describe('watchContainerd', () => {
  it('reports at once that containerd is gone and back', async (t) => {
    const { containerd, next } = await watched(t);
    for (const _ of [1, 2]) {
      await containerd.stop();
      assert.equal(await next(), 'gone');
      await containerd.start();
      assert.equal(await next(), 'back');
    }
  });

  it('reports a restart between two requests', async (t) => {
    const { containerd, next } = await watched(t);
    const stopping = containerd.stop();
    await Promise.all([stopping, stopping.then(() => containerd.start())]);
    let last = await next();
    if (last === 'gone') last = await next();
    assert.equal(last, 'back');
  });

  it('reports a restart that no request noticed', async () => {
    const changes: string[] = [];
    const stop = new AbortController();
    let calls = 0;
    const client = {
      version: async () => ({}),
      disconnected: async () => {
        if (++calls === 3) stop.abort();
        return calls === 1;
      },
    };
    await watchContainerd(client as never, (state) => changes.push(state), stop.signal, {
      ...RARE,
      pollMs: 1,
    });
    assert.deepEqual(changes, ['back']);
  });

  it('distinguishes a slow containerd from a broken connection', async (t) => {
    const { containerd, next } = await watched(t, { pollMs: 20, slowMs: 1_000, hungMs: 1_500 });
    containerd.scripts = { Version: HANGS };
    assert.equal(await next(), 'slow');
    containerd.scripts = {};
    assert.equal(await next(), 'responsive');
    containerd.scripts = { Version: HANGS };
    assert.equal(await next(), 'slow');
    await containerd.stop();
    containerd.scripts = {};
    await containerd.start();
    assert.equal(await next(), 'back');
  });

  it('distinguishes a late answer from none', async (t) => {
    const { containerd, client, next } = await watched(t, { pollMs: 20, slowMs: 600 });
    assert.equal(client.answersLate, false);
    const { script, open } = gate(containerd, 'Version');
    containerd.scripts = { Version: script };
    assert.equal(await next(), 'slow');
    assert.equal(client.answersLate, false);
    open();
    assert.equal(await next(), 'responsive');
    assert.equal(client.answersLate, true);
  });

  it('rests between calls of a server that is not containerd', async (t) => {
    const stop = new AbortController();
    const rests: number[] = [];
    const rest = timers.setTimeout;
    t.mock.method(timers, 'setTimeout', (ms: number, value?: unknown, options?: TimerOptions) => {
      if (options === undefined) rests.push(ms); // no timeout of a call
      return rest(ms, value, options);
    });
    let connections = 0;
    const server = createServer((connection) => {
      connections += 1;
      if (connections === 3) stop.abort();
      connection.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await watchContainerd(await clientOf(t, server), () => {}, stop.signal);
    assert.deepEqual(rests, [250, 250]);
  });

  it('reports nothing while containerd responds, and returns when aborted', async (t) => {
    const { containerd, stop, done, changes } = await watched(t, { pollMs: 10 });
    for (let pulse = 0; pulse < 5; pulse++) await containerd.called('Version');
    stop.abort();
    await done;
    assert.deepEqual(changes, []);
  });
});
