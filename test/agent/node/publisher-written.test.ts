import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refusal } from '../fake-api-server.ts';
import { BROKEN, publisherOf, READY, until } from './publisher-of.ts';

describe('NodePublisher', () => {
  it('tells what the Node says, and why it cannot write', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    assert.deepEqual(publisher.nodeWrites, { labels: {}, tainted: false });
    await publish(READY);
    await until('the agent to be ready', () => publisher.unready === undefined);
    const { labels, condition, tainted, problem } = publisher.nodeWrites;
    assert.deepEqual(labels, server.node.labels);
    assert.deepEqual(condition, server.node.conditions[0]);
    assert.deepEqual([tainted, problem], [false, undefined]);
    server.node.exists = false;
    server.script.push(refusal(404, 'not found'));
    publisher.publish(BROKEN);
    await logged('the node does not exist: waiting for it');
    await until('the reason', () => publisher.nodeWrites.problem !== undefined);
    assert.match(publisher.nodeWrites.problem ?? '', /^there is no Node "node-1"/);
  });
});
