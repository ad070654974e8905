import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fakeApiServer } from '../fake-api-server.ts';
import { AGAIN, BROKEN, LABELS, publisherOf, READY, STARTED, settled, watched } from './publisher-of.ts';

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
