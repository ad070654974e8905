import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fakeApiServer, refusal, statusOf } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import { publisherOf, STARTED, watched } from './publisher-of.ts';

const LABELS = 'PATCH /api/v1/nodes/node-1 application/merge-patch+json';
const CONDITION = 'PATCH /api/v1/nodes/node-1/status application/strategic-merge-patch+json';
const READ = 'GET /api/v1/nodes/node-1';
const READY = reportOf();
const BROKEN = reportOf({ verdict: verdictOf('False', 'ShimNotFound') });
const AGAIN = 'written again, since somebody else had changed it';

/** A publisher that has written READY and watches. */
async function settled(...args: Parameters<typeof publisherOf>) {
  const all = await publisherOf(...args);
  await watched(all.server);
  await all.publish(READY);
  all.server.asked.length = 0;
  return all;
}

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
    assert.match(server.accepted[0] ?? '', /as=PartialObjectMetadata/);
  });

  const changes: readonly [string, (node: Awaited<ReturnType<typeof settled>>['server']['node']) => void][] =
    [
      ['a label that was removed', ({ labels }) => delete labels['example.com/ready']],
      [
        'a label that was changed',
        ({ labels }) => {
          labels['example.com/ready'] = 'false';
        },
      ],
      ['an annotation that was removed', ({ annotations }) => delete annotations['example.com/proven-by']],
    ];
  for (const [what, act] of changes) {
    it(`gets back ${what}, with one request`, async (t) => {
      const { server, logged } = await settled(t);
      const was = structuredClone([server.node.labels, server.node.annotations]);
      server.node.change(act);
      await logged(AGAIN);
      assert.deepEqual([server.node.labels, server.node.annotations], was);
      assert.deepEqual(server.asked, [LABELS]);
    });
  }

  for (const conditions of [[], [{ type: 'GVisorReady', status: 'False', reason: 'Forged' }]]) {
    it(`gets back its condition when it is ${conditions.length === 0 ? 'removed' : 'forged'}`, async (t) => {
      const { server, logged, changed } = await settled(t);
      server.node.change((node) => {
        node.conditions = conditions;
      });
      await logged(AGAIN);
      assert.deepEqual(server.asked, [READ, CONDITION]);
      assert.equal(server.node.conditions[0]?.reason, 'SandboxProven');
      assert.equal(changed.length, 1, 'what somebody else did is no change of the verdict');
    });
  }

  it('costs nothing when it changes in what is not the agent’s', async (t) => {
    const { server, logged, publisher } = await settled(t);
    server.node.change((node) => {
      node.labels.team = 'a';
    });
    server.node.change((node) => {
      node.taints = [{ key: 'a', effect: 'NoSchedule' }];
    });
    publisher.publish(BROKEN);
    await logged('condition written');
    assert.deepEqual(server.asked, [LABELS, CONDITION]);
    assert.equal(server.node.labels.team, 'a');
  });

  it('is written less and less often while somebody goes on to change it', async (t) => {
    const { server, logged, pause, waits, clock } = await settled(t);
    const seen: number[] = [];
    for (let round = 1; round <= 12; round++) {
      const from = waits.length;
      server.node.change(({ labels }) => delete labels['example.com/ready']);
      if (round > 1) {
        const { ms, end } = await pause(1, from);
        assert.equal(server.node.labels['example.com/ready'], undefined);
        seen.push(ms);
        clock.nowMs += ms;
        end();
      }
      assert.equal((await logged(AGAIN)).times, round);
    }
    const s = 1_000;
    assert.deepEqual(seen, [
      s,
      2 * s,
      4 * s,
      8 * s,
      16 * s,
      32 * s,
      64 * s,
      128 * s,
      256 * s,
      300 * s,
      300 * s,
    ]);
    server.asked.length = 0;
    server.node.change(({ labels }) => delete labels['example.com/platform']); // another key is no part of it
    assert.equal((await logged(AGAIN)).key, 'example.com/platform');
  });

  it('is told a new verdict at once, though the key is fought over', async (t) => {
    const { server, logged, pause, waits, publish } = await settled(t);
    const remove = () => server.node.change(({ labels }) => delete labels['example.com/ready']);
    remove();
    await logged(AGAIN);
    const from = waits.length;
    remove();
    await pause(1_000, from);
    await publish(BROKEN);
    assert.equal(server.node.labels['example.com/ready'], 'false');
  });

  it('is waited for when it is gone, and labeled anew when it returns under the same name', async (t) => {
    const { server, logged, publisher, changed } = await settled(t);
    server.node.delete();
    await logged('the node is gone: waiting for it to return');
    publisher.publish(BROKEN);
    publisher.publish(READY);
    server.node.recreate('uid-2');
    await logged('condition written');
    assert.deepEqual(server.asked, [READ, LABELS, CONDITION]);
    assert.equal(server.node.labels['example.com/ready'], 'true');
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
    await logged('condition written');
    assert.equal(server.node.labels['example.com/ready'], 'true');
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
    await logged('condition written');
    assert.deepEqual(server.asked, [READ, READ, LABELS, CONDITION]);
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
      server.node.change(({ labels }) => delete labels['example.com/ready']);
      wake();
      await logged(AGAIN);
      assert.equal(server.node.labels['example.com/ready'], 'true');
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
    assert.equal(shared.server.node.labels['example.com/ready'], 'true');
  });
});

describe('a watch that ends at once', () => {
  it('is opened less and less often', async (t) => {
    const shared = await fakeApiServer(t);
    t.mock.method(Math, 'random', () => 0.5);
    for (let time = 0; time < 4; time++) shared.server.watchScript.push({ status: 200 });
    shared.server.watchScript.push(refusal(429, 'slow down', { 'retry-after': '60' }));
    const { pause } = await publisherOf(t, {}, shared);
    for (const [time, expected] of [1_000, 2_000, 4_000, 8_000, 60_000].entries()) {
      const { ms, end } = await pause(1, time);
      assert.equal(ms, expected);
      end();
    }
    await watched(shared.server);
  });
});

describe('a taint', () => {
  const TAINT = { key: 'example.com/not-ready', effect: 'NoSchedule' };
  const other = { key: 'other', effect: 'NoExecute', value: 'a' };

  it('stands on a node that is not proven, beside those of others, and goes with the proof', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.taints = [other];
    const { server, publish } = await publisherOf(t, { taint: true }, shared);
    await publish(BROKEN);
    assert.deepEqual(server.asked, [READ, LABELS, CONDITION]);
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') }));
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(READY);
    assert.deepEqual(server.node.taints, [other]);
  });

  it('comes back when it is removed, and takes no taint of others with it', async (t) => {
    const { server, publish, logged } = await publisherOf(t, { taint: true });
    await watched(server);
    await publish(BROKEN);
    server.node.change((node) => {
      node.taints = [other];
    });
    await logged(AGAIN);
    assert.deepEqual(server.node.taints, [other, TAINT]);
  });

  it('is not written over a Node that has changed since it was read', async (t) => {
    const { server, publish, publisher, logged, waits } = await publisherOf(t, { taint: true });
    await publish(READY);
    server.node.heard = () => {}; // the watch lags
    server.node.change((node) => {
      node.taints = [other];
    });
    publisher.publish(BROKEN);
    const line = await logged('cannot write the node');
    assert.match((line as { err: Error }).err.message, /: 409 /);
    waits.at(-1)?.end();
    await logged('condition written');
    assert.deepEqual(server.node.taints, [other, TAINT]);
  });
});

describe('two agents on one node', () => {
  const LATER = '2026-03-01T10:00:05.000Z 0.2.0+b';

  it('do not fight: the earlier yields to the later', async (t) => {
    const { server, logged, publisher } = await settled(t);
    server.node.change(({ annotations, labels }) => {
      annotations['example.com/agent'] = LATER;
      labels['example.com/ready'] = 'false';
    });
    assert.equal((await logged('a later agent writes this node')).held, LATER);
    assert.deepEqual(server.asked, []);
    assert.equal(publisher.unready, undefined);
  });

  it('the earlier asks after a look of its own, and writes when no answer comes', async (t) => {
    const { server, logged, publisher, pause, clock } = await settled(t);
    server.node.change(({ annotations, labels }) => {
      annotations['example.com/agent'] = LATER;
      labels['example.com/ready'] = 'false';
    });
    await logged('a later agent writes this node');
    publisher.publish(READY);
    const { ms, end } = await pause(5_000);
    assert.equal(ms, 5_000);
    assert.equal(server.node.annotations['example.com/agent'], `${STARTED} 0.1.0+a`);
    assert.equal(server.node.labels['example.com/ready'], 'false');
    clock.nowMs += ms;
    end();
    await logged('labels written');
    assert.equal(server.node.labels['example.com/ready'], 'true');
    assert.deepEqual(server.asked, [LABELS, LABELS]);
  });

  it('the later answers at once, each time, and the labels stay as they are', async (t) => {
    const { server, logged, publish, clock } = await publisherOf(t);
    await watched(server);
    await publish(BROKEN);
    server.asked.length = 0;
    const mine = server.node.annotations['example.com/agent'];
    for (let time = 0; time < 5; time++) {
      server.node.change(({ annotations }) => {
        annotations['example.com/agent'] = '2026-03-01T09:00:00.000Z 0.0.9+c';
      });
      await logged(AGAIN);
      assert.equal(server.node.annotations['example.com/agent'], mine);
      clock.nowMs += 60_000;
    }
    assert.deepEqual(server.asked, Array(5).fill(LABELS));
    assert.equal(server.node.labels['example.com/ready'], 'false');
  });

  it('the later takes over what the earlier wrote', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations['example.com/agent'] = '2026-03-01T09:00:00.000Z 0.0.9+c';
    const { server, publish } = await publisherOf(t, {}, shared);
    await publish(READY);
    assert.equal(server.node.annotations['example.com/agent'], `${STARTED} 0.1.0+a`);
  });
});

describe('a rollout', () => {
  it('waits while a node that another edition proved is found not ready, and writes the truth', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations['example.com/proven-by'] = '0.0.9+c';
    const { server, publisher, publish, logged } = await publisherOf(t, {}, shared);
    await watched(server);
    assert.equal(publisher.unready, 'the first verdict is not settled yet');
    await publish(BROKEN);
    const { refusal } = await logged('not ready: the rollout waits');
    assert.equal(refusal, publisher.unready);
    assert.equal(server.node.labels['example.com/ready'], 'false');
    assert.equal(server.node.annotations['example.com/proven-by'], '0.0.9+c');
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    const accept = 'kubectl annotate node node-1 example.com/proven-by-';
    await until(() => publisher.unready?.includes('RunscNotFound'));
    assert.equal(
      publisher.unready,
      `the node was proven by 0.0.9+c; this 0.1.0+a says RunscNotFound: RunscNotFound; to accept that: ${accept}`,
    );
    await publish(READY);
    await until(() => publisher.unready === undefined);
    assert.equal(server.node.annotations['example.com/proven-by'], '0.1.0+a');
    publisher.publish(BROKEN);
    await logged('condition written');
    await until(() => server.node.annotations['example.com/proven-by'] === undefined);
    assert.equal(publisher.unready, undefined);
  });

  it('goes on once somebody has taken the annotation away', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations['example.com/proven-by'] = '0.0.9+c';
    const { server, publisher, publish } = await publisherOf(t, {}, shared);
    await watched(server);
    await publish(BROKEN);
    await until(() => publisher.unready?.startsWith('the node was proven by'));
    server.node.change(({ annotations }) => delete annotations['example.com/proven-by']);
    await until(() => publisher.unready === undefined);
    assert.equal(server.node.labels['example.com/ready'], 'false');
  });

  it('waits while the verdict cannot be written, and says why', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    server.script.push(refusal(403, 'no'));
    publisher.publish(READY);
    await logged('cannot write the node');
    assert.match(publisher.unready ?? '', /^the first verdict is not in the Node yet: GET \S+ 403 no$/);
    waits[0]?.end();
    await logged('condition written');
    await until(() => publisher.unready === undefined);
  });
});

/** Waits for what follows from an event that has happened. */
async function until(holds: () => boolean | undefined): Promise<void> {
  while (!holds()) await new Promise((wake) => setImmediate(wake));
}
