import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import type { KubeEvent } from '../../../agent/kube/event.ts';
import { EventSender, eventOf, PodReporter } from '../../../agent/node/events.ts';
import type { Pod } from '../../../agent/pods/pod.ts';
import { fakeApiServer, refusedWith } from '../fake-api-server.ts';
import { PROVEN_VERDICT, verdictOf } from '../reports.ts';
import { logOf, mockPauses } from './publisher-of.ts';

const BROKEN = verdictOf('False', 'ShimNotFound');
const UNREACHABLE = verdictOf('Unknown', 'ContainerdUnreachable');
type Event = { readonly reason: string; readonly type: string; readonly metadata: { readonly name: string } };

/** A sender to a fake API server. */
async function senderOf(t: TestContext) {
  const { server, kube } = await fakeApiServer(t);
  const { log, logged } = logOf();
  const clock = { nowMs: Date.parse('2026-03-01T10:00:00.900Z') };
  const sender = new EventSender({ kube, node: 'node-1', log, date: () => new Date(clock.nowMs) });
  const { pause, waits } = mockPauses(t);
  const stop = new AbortController();
  const done = sender.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
  });
  const sent = () => server.bodies as unknown as Event[];
  const until = async (count: number) => {
    while (sent().length < count) await new Promise((wake) => setImmediate(wake));
    return sent();
  };
  return { server, sender, sent, until, logged, pause, waits, clock, stop, done };
}

describe('EventSender', () => {
  it('sends an event on the Node, as kubectl describe expects it', async (t) => {
    const { sender, server, until } = await senderOf(t);
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const [event] = await until(1);
    assert.deepEqual(event, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        name: `node-1.${Date.parse('2026-03-01T10:00:00.900Z').toString(16)}.1`,
        namespace: 'default',
      },
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'uid-1' },
      type: 'Warning',
      reason: 'ShimNotFound',
      message: 'ShimNotFound',
      source: { component: 'gvisor-ready', host: 'node-1' },
      firstTimestamp: '2026-03-01T10:00:00Z',
      lastTimestamp: '2026-03-01T10:00:00Z',
      count: 1,
    });
    assert.deepEqual(server.requests, ['POST /api/v1/namespaces/default/events application/json']);
  });

  it('shortens ids and long messages', async (t) => {
    const { sender, until } = await senderOf(t);
    const message = `sandbox ${'0123456789abcdef'.repeat(4)}: ${'x'.repeat(2_000)}: EACCES`;
    sender.send(eventOf({ ...BROKEN, message }, 'node-1', 'uid-1'));
    const [event] = (await until(1)) as unknown as { message: string }[];
    assert.match(event?.message ?? '', /^sandbox 0123456789ab: x+ … x+: EACCES$/);
    assert.equal(event?.message.length, 1_024);
  });

  it('is Normal for a proof and Warning otherwise, in order, with unique names', async (t) => {
    const { sender, until } = await senderOf(t);
    for (const verdict of [PROVEN_VERDICT, BROKEN, UNREACHABLE])
      sender.send(eventOf(verdict, 'node-1', 'uid-1'));
    const events = await until(3);
    assert.deepEqual(
      events.map(({ type, reason }) => [type, reason]),
      [
        ['Normal', 'SandboxProven'],
        ['Warning', 'ShimNotFound'],
        ['Warning', 'ContainerdUnreachable'],
      ],
    );
    assert.equal(new Set(events.map(({ metadata }) => metadata.name)).size, 3);
  });

  it('retries after Retry-After, and treats 409 as sent', async (t) => {
    const { sender, server, until, pause, logged } = await senderOf(t);
    server.script.push(
      refusedWith(429, 'slow down', { 'retry-after': '7' }),
      refusedWith(409, 'it is there'),
    );
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const { ms, end } = await pause(1);
    assert.ok(ms >= 7_000 && ms <= 8_750, `it waited ${ms} ms`);
    end();
    sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
    assert.deepEqual(
      (await until(3)).map(({ reason }) => reason),
      ['ShimNotFound', 'ShimNotFound', 'SandboxProven'],
    );
    server.script.push(refusedWith(400, 'invalid'));
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const { err } = await logged('event dropped');
    assert.match((err as Error).message, / 400 invalid$/);
  });

  it('drops an event after two minutes', async (t) => {
    const { sender, server, sent, logged, pause, waits, clock, until } = await senderOf(t);
    t.mock.method(Math, 'random', () => 0.5);
    for (let time = 0; time < 12; time++) server.script.push(refusedWith(500, 'broken'));
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const dropped = logged('event dropped');
    let ended = false;
    void dropped.then(() => {
      ended = true;
    });
    for (let index = 0; !ended && index < 11; index++) {
      const wait = await Promise.race([pause(1, index), dropped.then(() => undefined)]);
      clock.nowMs += wait?.ms ?? 0;
      wait?.end();
    }
    await dropped;
    assert.ok(waits.reduce((sum, { ms }) => sum + ms, 0) <= 120_000);
    server.script.length = 0;
    const before = sent().length;
    sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
    assert.equal((await until(before + 1)).at(-1)?.reason, 'SandboxProven');
  });

  it('drops a finally refused event at once', async (t) => {
    const { sender, server, until, logged, waits } = await senderOf(t);
    for (const status of [400, 403, 404, 422]) {
      server.script.push(refusedWith(status, 'the namespace is being terminated'));
      sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
      assert.match(
        ((await logged('event dropped')).err as Error).message,
        new RegExp(`: ${status} the name`),
      );
    }
    sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
    assert.equal((await until(5)).at(-1)?.reason, 'SandboxProven');
    assert.equal(waits.length, 0);
  });

  for (const status of [401, 408, 429]) {
    it(`retries a ${status}`, async (t) => {
      const { sender, server, until, pause } = await senderOf(t);
      server.script.push(refusedWith(status, 'not now'));
      if (status === 401) server.script.push(refusedWith(status, 'not now')); // the client tries once more by itself
      sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
      (await pause(1)).end();
      assert.equal((await until(status === 401 ? 3 : 2)).at(-1)?.reason, 'SandboxProven');
    });
  }

  it('keeps the newest 16 events during an outage', async (t) => {
    const { sender, server, until, pause, logged } = await senderOf(t);
    server.script.push(refusedWith(503, 'away'));
    sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
    const { end } = await pause(1);
    sender.send(eventOf(UNREACHABLE, 'node-1', 'uid-1'));
    for (let time = 0; time < 16; time++) sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const { event } = await logged('event dropped');
    assert.equal((event as Event).reason, 'ContainerdUnreachable');
    end();
    const events = await until(18);
    assert.deepEqual(
      events.map(({ reason }) => reason),
      ['SandboxProven', 'SandboxProven', ...Array(16).fill('ShimNotFound')],
    );
  });

  it('loses no event while a request is running', async (t) => {
    const { sender, server, until } = await senderOf(t);
    const names = Array.from({ length: 17 }, (_, index) => `Reason${index}`);
    for (const name of names) {
      sender.send({ ...eventOf(BROKEN, 'node-1', 'uid-1'), reason: name });
      if (name === names[0]) await new Promise((wake) => setImmediate(wake));
    }
    assert.ok(server.requests.length <= 1);
    assert.deepEqual(
      (await until(17)).map(({ reason }) => reason),
      names,
    );
  });

  it('logs each error once until an event is sent', async (t) => {
    const { sender, server, until, pause, waits, logged } = await senderOf(t);
    const errors = ['broken', 'broken', 'other', 'broken'];
    for (const message of errors) server.script.push(refusedWith(500, message));
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    const levels: unknown[] = [];
    for (const index of errors.keys()) {
      levels.push((await logged('cannot send the event')).level);
      (await pause(1, index)).end();
    }
    assert.deepEqual(levels, [40, 20, 40, 20]);
    await until(5);
    server.script.push(refusedWith(500, 'broken'));
    sender.send(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1'));
    assert.equal((await logged('cannot send the event')).level, 40);
    (await pause(1, errors.length)).end();
    assert.equal(waits.length, errors.length + 1);
  });

  it('stops when aborted', async (t) => {
    const { sender, server, pause, stop, done } = await senderOf(t);
    server.script.push(refusedWith(500, 'broken'));
    sender.send(eventOf(BROKEN, 'node-1', 'uid-1'));
    await pause(1);
    stop.abort();
    await done;
  });
});

const pod = (name: string): Pod => ({
  namespace: 'eval',
  name,
  uid: `uid-${name}`,
  handler: '',
  sandboxed: false,
  evidence: 'process 12 is "/pause"',
});

function warnings() {
  const lines: string[] = [];
  return { lines, log: pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }) };
}

describe('PodReporter', () => {
  it('reports each unsandboxed pod once, and again if it comes back', () => {
    const sent: KubeEvent[] = [];
    const { log, lines } = warnings();
    const reporter = new PodReporter(log, { send: (event) => sent.push(event) });
    for (const names of [['a'], ['a', 'b'], ['b'], ['a', 'b']]) reporter.publish(names.map(pod), []);
    assert.deepEqual(
      sent.map(({ about }) => about.name),
      ['a', 'b', 'a'],
    );
    assert.deepEqual(sent[0], {
      about: { kind: 'Pod', namespace: 'eval', name: 'a', uid: 'uid-a' },
      type: 'Warning',
      reason: 'UnsandboxedPod',
      message:
        'This pod runs on the kernel of the node, and its namespace requires gVisor (require-gvisor=true): process 12 is "/pause", handler "". End it, and start it with a runtimeClassName of gVisor.',
    });
    assert.equal(lines.length, 3);
  });

  it('reports the weaknesses of a pod once, and separately if it is unsandboxed', () => {
    const sent: KubeEvent[] = [];
    const { log, lines } = warnings();
    const reporter = new PodReporter(log, { send: (event) => sent.push(event) });
    const weak = [{ flag: 'host-uds', value: 'all', severity: 'blocker', why: 'way out' }] as const;
    const weakened = { ...pod('a'), handler: 'runsc', sandboxed: true, weak };
    for (let count = 0; count < 2; count++) reporter.publish([], [weakened]);
    reporter.publish([pod('a')], [weakened]);
    assert.deepEqual(
      sent.map(({ reason }) => reason),
      ['WeakenedPod', 'UnsandboxedPod'],
    );
    assert.equal(
      sent[0]?.message,
      'The sandbox of this pod is weakened: process 12 is "/pause", handler "runsc". Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.',
    );
    assert.equal(lines.length, 2);
  });

  it('logs without events', () => {
    const { log, lines } = warnings();
    new PodReporter(log, undefined).publish([pod('a')], []);
    assert.equal(lines.length, 1);
  });
});
