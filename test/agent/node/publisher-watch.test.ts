import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fakeApiServer, refusal, statusOf } from '../fake-api-server.ts';
import { AGAIN, BROKEN, publisherOf, READ, READY, settled, TRY, WRITE, watched } from './publisher-of.ts';

describe('a Node that somebody else changes', () => {
  it('is watched by its name alone, about an hour at a time', async (t) => {
    const { server } = await settled(t);
    const url = new URL(`https://api${server.watched[0]}`);
    assert.equal(url.pathname, '/api/v1/nodes');
    const { timeoutSeconds, ...query } = Object.fromEntries(url.searchParams);
    assert.deepEqual(query, {
      fieldSelector: 'metadata.name=node-1',
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: '0',
    });
    assert.ok(Number(timeoutSeconds) >= 3_000 && Number(timeoutSeconds) <= 4_200, timeoutSeconds);
    assert.deepEqual(server.accepted, ['application/json']);
  });

  it('is waited for when it is gone, and labeled anew when it returns under the same name', async (t) => {
    const { server, logged, publisher, changed } = await settled(t);
    server.node.delete();
    await logged('the node is gone: waiting for it to return');
    publisher.publish(BROKEN);
    publisher.publish(READY);
    server.node.recreate('uid-2');
    await logged('node written');
    assert.deepEqual(server.asked, [READ, WRITE]);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
    assert.deepEqual(
      changed.map(([, uid]) => uid),
      ['uid-1', 'uid-2'],
    );
  });

  it('is labeled anew when it went and returned while nobody watched', async (t) => {
    const { server, logged, pause } = await settled(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.endWatches();
    const { end } = await pause(500);
    server.node.recreate('uid-2');
    end();
    await logged('node written');
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });

  it('is read anew where a new watch begins with an older version, as after a restore of the store', async (t) => {
    const { server, logged, pause } = await settled(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.node.restore({ 'gvisor.node-restriction.kubernetes.io/ready': 'false' }, 0);
    server.endWatches();
    const { end } = await pause(500);
    end();
    await logged('node written');
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });

  it('is asked for again after a while where something on the way did not know it', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.watchScript.push('silence');
    const { server, publisher, publish, logged, pause, clock } = await publisherOf(t, {}, shared);
    await publish(READY);
    server.script.push(refusal(404, 'not found'));
    publisher.publish(BROKEN);
    await logged('the node does not exist: waiting for it');
    const { ms, end } = await pause(1);
    assert.equal(ms, 30_000);
    clock.nowMs += ms;
    end();
    await logged('node written');
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
  });

  it('is waited for without a request when it does not exist yet', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.delete();
    const { server, publisher, logged } = await publisherOf(t, {}, shared);
    await watched(server);
    publisher.publish(READY);
    await logged('the node does not exist: waiting for it');
    assert.match(publisher.unready ?? '', /^there is no Node "node-1": is NODE_NAME right\?$/);
    publisher.publish(READY);
    assert.deepEqual(server.asked, [READ]);
    server.node.recreate('uid-1');
    await logged('node written');
    assert.deepEqual(server.asked, [READ, READ, TRY, WRITE]);
    assert.equal(publisher.unready, undefined);
  });

  for (const [what, end] of [
    ['ended in time', ''],
    ['was too old (410)', `${JSON.stringify({ type: 'ERROR', object: statusOf(410, 'too old') })}\n`],
  ] as const) {
    it(`is watched again after the watch ${what}`, async (t) => {
      const { server, logged, pause } = await settled(t);
      t.mock.method(Math, 'random', () => 0.5);
      server.endWatches(end);
      const { end: wake } = await pause(500);
      server.node.change(({ labels }) => delete labels['gvisor.node-restriction.kubernetes.io/ready']);
      wake();
      await logged(AGAIN);
      assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
      assert.equal(server.watched.length, 2);
    });
  }

  it('is watched with longer and longer pauses while watching is refused, and labeled all the same', async (t) => {
    const shared = await fakeApiServer(t);
    t.mock.method(Math, 'random', () => 0.5);
    const words =
      'nodes is forbidden: User "u" cannot watch resource "nodes" in API group "" at the cluster scope';
    for (let time = 0; time < 9; time++) shared.server.watchScript.push(refusal(403, words));
    const { logged, pause, waits, publish } = await publisherOf(t, {}, shared);
    for (let time = 0; time < 9; time++) {
      const { err } = (await logged('watch ended')) as { err: Error };
      assert.match(err.message, /kubectl auth can-i watch nodes --as=u$/);
      (await pause(1, time)).end();
    }
    const s = 1_000;
    assert.deepEqual(
      waits.map(({ ms }) => ms),
      [s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 120 * s, 120 * s],
    );
    await publish(READY);
    assert.equal(shared.server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });
});

describe('a watch that ends at once', () => {
  it('is opened less and less often', async (t) => {
    const shared = await fakeApiServer(t);
    t.mock.method(Math, 'random', () => 0.5);
    for (let time = 0; time < 4; time++) shared.server.watchScript.push({ status: 200 });
    shared.server.watchScript.push(refusal(429, 'slow down', { 'retry-after': '60' }));
    const { pause } = await publisherOf(t, {}, shared);
    for (const [time, expected] of [1_000, 2_000, 4_000, 8_000, 33_750].entries()) {
      const { ms, end } = await pause(1, time);
      assert.equal(ms, expected);
      end();
    }
    await watched(shared.server);
  });
});

describe('a watch that a proxy ends after 50 s of silence', () => {
  it('is opened again soon, each time', async (t) => {
    t.mock.method(Math, 'random', () => 0.5);
    let nowMs = 0;
    t.mock.method(performance, 'now', () => nowMs);
    const { server, pause } = await publisherOf(t);
    for (let time = 0; time < 4; time++) {
      await watched(server);
      nowMs += 50_000;
      server.endWatches();
      const { ms, end } = await pause(1, time);
      assert.equal(ms, 1_000);
      end();
    }
  });
});
