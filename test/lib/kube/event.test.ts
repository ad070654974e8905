import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { waitFor } from '../../../hack/run.ts';
import { createEventSender, type KubeEvent } from '../../../lib/kube/event.ts';
import { logOf } from '../../agent/publish/publisher-of.ts';
import { fakeApiServer, refusedWith } from './fake-api-server.ts';

const eventOf = (reason: string): KubeEvent => ({
  about: { kind: 'Node', name: 'node-1', uid: 'uid-1' },
  type: 'Warning',
  reason,
  message: 'x'.repeat(2_000),
});

/** A sender to a fake API server; `until` resolves with the first events sent. */
async function senderOf(t: TestContext) {
  const { server, kube } = await fakeApiServer(t);
  const { log, logged } = logOf();
  const sender = createEventSender({ kube, log }, { component: 'gvisor-ready', host: 'node-1' });
  const sent = server.bodies as unknown as readonly { readonly reason: string }[];
  const until = (count: number) =>
    waitFor(`${count} events`, 10_000, async () => (sent.length >= count ? sent : undefined), 10);
  return { server, sender, logged, until };
}

describe('createEventSender', () => {
  it('sends an event on the Node, as kubectl describe expects it', async (t) => {
    const { server, sender, until } = await senderOf(t);
    t.mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-03-01T10:00:00.900Z') });
    sender.send(eventOf('ShimNotFound'));
    assert.deepEqual((await until(1))[0], {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: 'node-1.', namespace: 'default' },
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'uid-1' },
      type: 'Warning',
      reason: 'ShimNotFound',
      message: 'x'.repeat(1_024),
      source: { component: 'gvisor-ready', host: 'node-1' },
      firstTimestamp: '2026-03-01T10:00:00Z',
      lastTimestamp: '2026-03-01T10:00:00Z',
      count: 1,
    });
    assert.deepEqual(server.requests, ['POST /api/v1/namespaces/default/events application/json']);
  });

  it('sends one after another, each once, and logs a failure', async (t) => {
    const { server, sender, logged, until } = await senderOf(t);
    server.script.push(refusedWith(500, 'broken'));
    const names = Array.from({ length: 17 }, (_, index) => `Reason${index}`);
    for (const name of names) sender.send(eventOf(name));
    const { err } = await logged('cannot send the event');
    assert.match((err as Error).message, /500 broken/);
    assert.deepEqual(
      (await until(17)).map(({ reason }) => reason),
      names,
    );
  });
});
