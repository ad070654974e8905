import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { REASONS } from '../../../agent/reasons.ts';
import type { Report } from '../../../agent/report.ts';
import { refusal } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import { BOOT, BROKEN, publisherOf, READ, READY, TRY, until, WRITE } from './publisher-of.ts';

describe('NodePublisher', () => {
  it('writes labels and condition once, and only what changed after that', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    await publish(READY);
    assert.deepEqual(server.asked.splice(0), [READ, TRY, WRITE]);
    assert.deepEqual(server.node.labels, {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': 'release-20260223.0',
      'gvisor.node-restriction.kubernetes.io/platform': 'systrap',
    });
    assert.deepEqual(server.node.annotations, {
      'gvisor.node-restriction.kubernetes.io/proven-by': '0.1.0+a',
      'gvisor.node-restriction.kubernetes.io/proven-boot': BOOT,
    });
    assert.deepEqual(server.node.taints, []);
    assert.deepEqual(server.node.conditions, [
      {
        type: 'GVisorReady',
        status: 'True',
        reason: 'SandboxProven',
        message: 'SandboxProven',
        lastHeartbeatTime: '2026-03-01T10:00:00Z',
        lastTransitionTime: '2026-03-01T10:00:00Z',
      },
    ]);
    publisher.publish(READY);
    publisher.publish(reportOf({ facts: { ...READY.facts, platform: 'kvm' } }));
    await logged('node written');
    assert.deepEqual(server.asked.splice(0), [WRITE]);
    assert.deepEqual(server.bodies.at(-1), {
      metadata: { labels: { 'gvisor.node-restriction.kubernetes.io/platform': 'kvm' } },
    });
    await publish(BROKEN);
    assert.deepEqual(server.asked, [WRITE]);
  });

  it('writes nothing when its predecessor wrote the same', async (t) => {
    const { server, publisher } = await publisherOf(t);
    server.node.labels = {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': 'release-20260223.0',
      'gvisor.node-restriction.kubernetes.io/platform': 'systrap',
      other: 'label',
    };
    const condition = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: 'before' };
    server.node.conditions = [{ ...condition, lastTransitionTime: '2026-01-01T00:00:00Z' }];
    server.node.annotations = {
      'gvisor.node-restriction.kubernetes.io/proven-by': '0.1.0+a',
      'gvisor.node-restriction.kubernetes.io/proven-boot': BOOT,
    };
    publisher.publish(READY);
    await until('the agent to be ready', () => publisher.unready === undefined);
    assert.deepEqual(server.asked, [READ, TRY]);
    assert.equal(server.node.labels.other, 'label');
  });

  it('keeps the time of transition while the status stays, and moves it with the status', async (t) => {
    const { server, publish, clock } = await publisherOf(t);
    const times = async (report: Report, minute: number) => {
      clock.nowMs = Date.parse(`2026-03-01T11:0${minute}:00Z`);
      await publish(report);
      return server.node.conditions[0]?.lastTransitionTime;
    };
    assert.equal(await times(BROKEN, 1), '2026-03-01T11:01:00Z');
    const otherwise = reportOf({ verdict: verdictOf('False', 'RunscNotFound') });
    assert.equal(await times(otherwise, 2), '2026-03-01T11:01:00Z');
    assert.equal(server.node.conditions[0]?.reason, 'RunscNotFound');
    assert.equal(await times(READY, 3), '2026-03-01T11:03:00Z');
    assert.equal(
      await times(reportOf({ verdict: verdictOf('Unknown', 'CheckTimedOut') }), 4),
      '2026-03-01T11:04:00Z',
    );
  });

  it('gives a time to a condition that has none, says what to do, and cuts a long message before that', async (t) => {
    const { server, publish } = await publisherOf(t);
    server.node.conditions = [{ type: 'GVisorReady', status: 'False', reason: 'RunscNotFound' }];
    const message = `starting ${'x'.repeat(5_000)}: no such file`;
    await publish(reportOf({ verdict: { ...BROKEN.verdict, message } }));
    const [condition] = server.node.conditions;
    assert.equal(condition?.lastTransitionTime, '2026-03-01T10:00:00Z');
    assert.equal(condition?.lastHeartbeatTime, '2026-03-01T10:00:00Z');
    assert.equal(condition?.message?.length, 512);
    const { remedy } = REASONS[BROKEN.verdict.reason];
    assert.match(condition?.message ?? '', /^starting x+ … x+: no such file\. What to do: /);
    assert.ok(condition?.message?.endsWith(remedy));
  });

  it('moves the heartbeat with each write of the condition, and never writes for the heartbeat alone', async (t) => {
    const { server, publish, publisher, clock, logged } = await publisherOf(t);
    await publish(BROKEN);
    clock.nowMs = Date.parse('2026-03-01T11:00:00Z');
    const anotherMessage = { ...BROKEN.verdict, message: 'the same in other words' };
    publisher.publish(reportOf({ verdict: anotherMessage }));
    publisher.publish(reportOf({ verdict: anotherMessage, facts: {} }));
    await logged('node written');
    assert.equal(server.node.conditions[0]?.lastHeartbeatTime, '2026-03-01T10:00:00Z');
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    const [condition] = server.node.conditions;
    assert.equal(condition?.lastHeartbeatTime, '2026-03-01T11:00:00Z');
    assert.equal(condition?.lastTransitionTime, '2026-03-01T10:00:00Z');
  });

  it('takes away the label of a fact that is seen to be so no longer, and of no other', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    await publish(READY);
    publisher.publish(reportOf({ facts: { runsc: undefined } }));
    await logged('node written');
    assert.deepEqual(server.node.labels, {
      'gvisor.node-restriction.kubernetes.io/ready': 'true',
      'gvisor.node-restriction.kubernetes.io/platform': 'systrap',
    });
  });

  it('writes the newest of several verdicts once the server is back', async (t) => {
    const { server, publisher, publish, logged, waits } = await publisherOf(t);
    server.script.push(refusal(503, 'apiserver is shutting down'));
    publisher.publish(READY);
    await logged('cannot write the node');
    for (const report of [BROKEN, READY, BROKEN]) publisher.publish(report);
    assert.deepEqual(server.asked.splice(0), [READ]);
    waits[0]?.end();
    await logged('node written');
    assert.deepEqual(server.asked.splice(0), [READ, WRITE]);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
    await publish(READY);
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });

  it('waits as long as the server asks, else longer each time up to half a minute', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.script.push(refusal(429, 'slow down', { 'retry-after': '7' }));
    for (let failure = 0; failure < 9; failure++) server.script.push(refusal(500, 'broken'));
    publisher.publish(READY);
    for (let failure = 0; failure < 10; failure++) {
      await logged('cannot write the node');
      waits[failure]?.end();
    }
    await logged('node written');
    assert.deepEqual(
      waits.map(({ ms }) => ms),
      [7_875, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000],
    );
  });

  const words: readonly [number, string][] = [
    [409, 'Operation cannot be fulfilled on nodes "node-1": the object has been modified'],
    [403, 'nodes "node-1" is forbidden: ValidatingAdmissionPolicy denied request'],
  ];
  for (const [status, message] of words) {
    it(`logs a ${status} in the server's words, reads the node anew, and tries again`, async (t) => {
      const { server, publisher, publish, logged, waits } = await publisherOf(t);
      await publish(READY);
      server.asked.length = 0;
      server.script.push(refusal(status, message));
      publisher.publish(BROKEN);
      const line = await logged('cannot write the node');
      const { err } = line as { err: { message: string } };
      assert.equal(err.message, `PATCH /api/v1/nodes/node-1/status: ${status} ${message}`);
      waits[0]?.end();
      await logged('node written');
      assert.deepEqual(server.asked, [WRITE, READ, WRITE]);
      assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'false');
    });
  }

  it('survives a server that answers nonsense', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    server.script.push({ status: 200, body: 'not json' });
    publisher.publish(READY);
    await logged('cannot write the node');
    waits[0]?.end();
    await logged('node written');
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });

  it('ends while it waits, and takes nothing away', async (t) => {
    const { server, publish, publisher, logged, stop, done } = await publisherOf(t);
    await publish(READY);
    server.script.push(refusal(500, 'broken'));
    publisher.publish(BROKEN);
    await logged('cannot write the node');
    stop.abort();
    await done;
    assert.equal(server.node.labels['gvisor.node-restriction.kubernetes.io/ready'], 'true');
  });
});
