import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fakeApiServer, refusal } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import { BROKEN, publisherOf, READY, until, watched } from './publisher-of.ts';

describe('a rollout', () => {
  it('waits while a node that another agent proved is found not ready, and writes the truth', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'] = '0.0.9+c';
    const { server, publisher, publish, logged } = await publisherOf(t, {}, shared);
    await watched(server);
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(BROKEN);
    const { unready } = await logged('not ready: the rollout waits');
    assert.equal(unready, publisher.unready);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
    assert.equal(server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'], '0.0.9+c');
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    const accept = 'kubectl annotate node node-1 gvisor.node-restriction.kubernetes.io/proven-by-';
    await until('the reason', () => publisher.unready?.includes('RunscNotFound'));
    assert.equal(
      publisher.unready,
      `the node was proven by 0.0.9+c; this 0.1.0+a says RunscNotFound: RunscNotFound; to accept that: ${accept}`,
    );
    await publish(READY);
    await until('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'], '0.1.0+a');
    publisher.publish(BROKEN);
    await logged('node written');
    await until(
      'the proof to be withdrawn',
      () => server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'] === '',
    );
    assert.equal(publisher.unready, undefined);
  });

  it('goes on once somebody has taken the annotation away', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'] = '0.0.9+c';
    const { server, publisher, publish } = await publisherOf(t, {}, shared);
    await watched(server);
    await publish(BROKEN);
    await until('the guard', () => publisher.unready?.startsWith('the node was proven by'));
    server.node.change(
      ({ annotations }) => delete annotations['gvisor.node-restriction.kubernetes.io/proven-by'],
    );
    await until('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
  });

  it('leaves it to the Node whether gVisor was ever proven there: a withdrawn proof counts, until somebody takes it away', async (t) => {
    const told: boolean[] = [];
    const { server, publisher, publish } = await publisherOf(t, { onProvenOnce: (yes) => told.push(yes) });
    await watched(server);
    await publish(BROKEN);
    await until('the Node to be read', () => told.at(-1) === false);
    await publish(READY);
    await until('the proof', () => told.at(-1) === true);
    await publish(BROKEN);
    await until(
      'the withdrawal',
      () => server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'] === '',
    );
    assert.equal(told.at(-1), true);
    assert.equal(publisher.unready, undefined);
    server.node.change(
      ({ annotations }) => delete annotations['gvisor.node-restriction.kubernetes.io/proven-by'],
    );
    await until('that to be heard', () => told.at(-1) === false);
    assert.equal(server.node.annotations['gvisor.node-restriction.kubernetes.io/proven-by'], undefined);
  });

  it('waits while the verdict cannot be written, and says why', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    server.script.push(refusal(403, 'no'));
    publisher.publish(READY);
    await logged('cannot write the node');
    assert.match(publisher.unready ?? '', /^the first verdict is not in the Node yet: GET \S+ 403 no$/);
    waits[0]?.end();
    await logged('node written');
    await until('the agent to be ready', () => publisher.unready === undefined);
  });
});
