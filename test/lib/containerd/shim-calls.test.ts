import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ShimCalls } from '../../../lib/containerd/shim-calls.ts';
import { tempHost } from '../host/temp-host.ts';
import { fakeShim, frame } from './fake-shim.ts';

const { signal: SIGNAL } = new AbortController();
const addressOf = (name: string, version = 2) => ({ socket: `/s/${name}`, version, id: `id-${name}` });

/** Calls of shims on a host whose sockets are in /s; the clock is the test's. */
async function setUp(context: TestContext, patienceMs = 50) {
  const host = await tempHost(context);
  await mkdir(join(host.root, 's'));
  const clock = { nowMs: 0 };
  const calls = new ShimCalls({ host, now: () => clock.nowMs, patienceMs });
  context.after(() => calls.close());
  const kinds = async (...names: string[]) => {
    const found = await calls.call(
      names.map((name) => addressOf(name)),
      SIGNAL,
    );
    return names.map((name) => found.get(`/s/${name}`)?.kind);
  };
  return { calls, clock, kinds, path: (name: string) => join(host.root, 's', name) };
}

describe('ShimCalls', () => {
  it("calls Connect with the bundle's id and the shim's version of the API", async (t) => {
    const { calls, path } = await setUp(t, 60_000);
    const shims = [await fakeShim(t, path('a')), await fakeShim(t, path('b'))];
    await calls.call([addressOf('a', 2), addressOf('b', 3)], SIGNAL);
    const requests = shims.flatMap((shim) => shim.requests);
    assert.deepEqual(requests, [
      { service: 'containerd.task.v2.Task', method: 'Connect', payload: { id: 'id-a' } },
      { service: 'containerd.task.v3.Task', method: 'Connect', payload: { id: 'id-b' } },
    ]);
  });

  it('distinguishes an absent, a refusing and a foreign listener from a shim that answers', async (t) => {
    const { kinds, path } = await setUp(t, 60_000);
    await fakeShim(t, path('well'));
    await fakeShim(t, path('other-user'), (connection) => connection.destroy());
    await fakeShim(t, path('garbage'), (connection) => connection.write('HTTP/1.1 400 Bad'));
    await fakeShim(t, path('slice'), (connection) => {
      connection.write(frame(2).subarray(0, 4));
      setImmediate(() => connection.write(frame(2).subarray(4)));
    });
    const names = ['well', 'other-user', 'garbage', 'slice', 'gone', 'x'.repeat(120)];
    assert.deepEqual(await kinds(...names), [
      'answered',
      'unreachable',
      'unreachable',
      'answered',
      'absent',
      'unreachable',
    ]);
  });

  it('keeps one request open to a silent shim, measures its silence, and sees a late answer', async (t) => {
    const { calls, clock, path } = await setUp(t);
    const shim = await fakeShim(t, path('a'), () => {});
    const round = async () => (await calls.call([addressOf('a')], SIGNAL)).get('/s/a');
    // The request was just sent, however long this process took: nothing is known yet.
    assert.equal(await round(), undefined);
    clock.nowMs = 49;
    assert.equal(await round(), undefined);
    for (const nowMs of [50, 30_000, 60_000]) {
      clock.nowMs = nowMs;
      assert.deepEqual(await round(), { kind: 'silent', forMs: nowMs });
    }
    assert.equal(shim.connections.length, 1);
    shim.connections[0]?.write(frame(2));
    clock.nowMs = 3_600_000;
    while ((await round())?.kind !== 'answered') assert.equal(shim.connections.length, 1);
  });

  it('sees a real process stop and continue', async (t) => {
    const { clock, kinds, path } = await setUp(t);
    const answer = `Buffer.from('${frame(2).toString('hex')}', 'hex')`;
    const note = `() => require('fs').writeFileSync('${path('noted')}', '')`;
    const script = `require('net').createServer((c) => c.on('data', () => c.write(${answer}, ${note})).on('error', () => {})).listen('${path('a')}', () => console.log('up'))`;
    const shim = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => shim.kill('SIGKILL'));
    await once(shim.stdout, 'data');
    while ((await kinds('a'))[0] !== 'answered' || !existsSync(path('noted')));
    shim.kill('SIGSTOP');
    while ((await kinds('a'))[0] !== 'silent') clock.nowMs += 60;
    await rm(path('noted'));
    shim.kill('SIGCONT');
    // Until the answer is in the socket this process does nothing, like a throttled agent.
    spawnSync('sh', ['-c', 'until [ -e "$0" ]; do sleep 0.02; done', path('noted')]);
    clock.nowMs += 3_600_000;
    assert.deepEqual(await kinds('a'), ['answered']);
  });

  it('calls at most 128 shims a round, those first that were called longest ago, and closes the rest', async (t) => {
    const { calls, path } = await setUp(t, 60_000);
    const shims = await Promise.all(Array.from({ length: 200 }, (_, n) => fakeShim(t, path(`${n}`))));
    const addresses = shims.map((_, n) => addressOf(`${n}`));
    const counts = () => shims.map(({ requests }) => requests.length);
    const total = () => counts().reduce((sum, count) => sum + count, 0);
    assert.equal((await calls.call(addresses, SIGNAL)).size, 128);
    assert.equal(total(), 128);
    assert.equal((await calls.call(addresses, SIGNAL)).size, 200);
    assert.equal(Math.min(...counts()), 1);
    assert.equal(total(), 256);
    assert.equal((await calls.call(addresses.slice(0, 1), SIGNAL)).size, 1);
  });
});
