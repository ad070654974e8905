import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import pino from 'pino';
import { EventSender, eventOf, PodReporter } from '../../../agent/publish/events.ts';
import type { KubeEvent } from '../../../lib/kube/event.ts';
import type { Pod } from '../../../lib/node/pods/pod.ts';
import type { Verdict } from '../../../lib/report/verdict.ts';
import { fakeApiServer, refusedWith } from '../../lib/kube/fake-api-server.ts';
import { PROVEN_VERDICT, verdictOf } from '../reports.ts';
import { logOf, mockPauses } from './publisher-of.ts';

const BROKEN = verdictOf('False', 'ShimNotFound');
const UNREACHABLE = verdictOf('Unknown', 'ContainerdUnreachable');
const STARTED = '2026-03-01T10:00:00.900Z';
type Event = {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly metadata: { readonly name: string };
};

/** A sender to a fake API server; `send` sends verdicts, and `until` resolves with the first events sent. */
async function senderOf(t: TestContext) {
  const { server, kube } = await fakeApiServer(t);
  const { log, logged } = logOf();
  const clock = { nowMs: Date.parse(STARTED) };
  const sender = new EventSender({ kube, node: 'node-1', log, date: () => new Date(clock.nowMs) });
  const { pause, pauses, waits } = mockPauses(t);
  const stop = new AbortController();
  const done = sender.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
  });
  const send = (...verdicts: readonly Verdict[]) => {
    for (const verdict of verdicts) sender.send(eventOf(verdict, 'node-1', 'uid-1'));
  };
  const sent = server.bodies as unknown as readonly Event[];
  const until = async (count: number) => {
    while (sent.length < count) await new Promise((wake) => setImmediate(wake));
    return sent;
  };
  const reasons = async (count: number) => (await until(count)).map(({ reason }) => reason);
  const dropped = async () => {
    const { err, event } = await logged('event dropped');
    return { message: (err as Error | undefined)?.message ?? '', event: event as Event };
  };
  return { server, sender, send, sent, until, reasons, dropped, logged, pause, pauses, waits, clock };
}

describe('EventSender', () => {
  it('sends an event on the Node, as kubectl describe expects it', async (t) => {
    const { send, server, until } = await senderOf(t);
    send(BROKEN);
    const [event] = await until(1);
    const name = `node-1.${Date.parse(STARTED).toString(16)}.1`;
    assert.deepEqual(event, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace: 'default' },
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
    const { send, until } = await senderOf(t);
    send({ ...BROKEN, message: `sandbox ${'0123456789abcdef'.repeat(4)}: ${'x'.repeat(2_000)}: EACCES` });
    const [{ message } = { message: '' }] = await until(1);
    assert.match(message, /^sandbox 0123456789ab: x+ … x+: EACCES$/);
    assert.equal(message.length, 1_024);
  });

  it('is Normal for a proof and Warning otherwise, in order, with unique names', async (t) => {
    const { send, until } = await senderOf(t);
    send(PROVEN_VERDICT, BROKEN, UNREACHABLE);
    const events = await until(3);
    const expected = ['Normal SandboxProven', 'Warning ShimNotFound', 'Warning ContainerdUnreachable'];
    const typed = events.map(({ type, reason }) => `${type} ${reason}`);
    assert.deepEqual(typed, expected);
    assert.equal(new Set(events.map(({ metadata }) => metadata.name)).size, 3);
  });

  it('retries after Retry-After, and treats 409 as sent', async (t) => {
    const { send, server, reasons, pause, dropped } = await senderOf(t);
    const slowDown = refusedWith(429, 'slow down', { 'retry-after': '7' });
    server.script.push(slowDown, refusedWith(409, 'it is there'));
    send(BROKEN);
    const { ms, end } = await pause(1);
    assert.equal(ms, 7_875);
    end();
    send(PROVEN_VERDICT);
    assert.deepEqual(await reasons(3), ['ShimNotFound', 'ShimNotFound', 'SandboxProven']);
    server.script.push(refusedWith(400, 'invalid'));
    send(BROKEN);
    assert.match((await dropped()).message, / 400 invalid$/, 'the 409 was not dropped');
  });

  it('drops an event after two minutes', async (t) => {
    const { send, server, sent, dropped, pause, pauses, clock, reasons } = await senderOf(t);
    for (let time = 0; time < 12; time++) server.script.push(refusedWith(500, 'broken'));
    send(BROKEN);
    const drop = dropped().then(() => undefined);
    for (let index = 0; index < 11; index++) {
      const wait = await Promise.race([pause(1, index), drop]);
      if (wait === undefined) break;
      clock.nowMs += wait.ms;
      wait.end();
    }
    await drop;
    assert.deepEqual(pauses(), [1, 2, 4, 8, 15, 15, 15, 15, 15, 15, 15]);
    server.script.length = 0;
    send(PROVEN_VERDICT);
    assert.equal((await reasons(sent.length + 1)).at(-1), 'SandboxProven');
  });

  it('drops a finally refused event at once', async (t) => {
    const { send, server, reasons, dropped, waits } = await senderOf(t);
    for (const status of [400, 403, 404, 422]) {
      server.script.push(refusedWith(status, 'the namespace is being terminated'));
      send(BROKEN);
      assert.match((await dropped()).message, new RegExp(`: ${status} the name`));
    }
    send(PROVEN_VERDICT);
    assert.equal((await reasons(5)).at(-1), 'SandboxProven');
    assert.equal(waits.length, 0);
  });

  // The client itself repeats a 401 once.
  for (const [status, requests] of [
    [401, 3],
    [408, 2],
  ] as const) {
    it(`retries a ${status}`, async (t) => {
      const { send, server, reasons, pause } = await senderOf(t);
      server.script.push(...Array(requests - 1).fill(refusedWith(status, 'not now')));
      send(PROVEN_VERDICT);
      (await pause(1)).end();
      assert.equal((await reasons(requests)).at(-1), 'SandboxProven');
    });
  }

  it('keeps the newest 16 events during an outage', async (t) => {
    const { send, server, reasons, pause, dropped } = await senderOf(t);
    server.script.push(refusedWith(503, 'away'));
    send(PROVEN_VERDICT);
    const { end } = await pause(1);
    send(UNREACHABLE, ...Array(16).fill(BROKEN));
    assert.equal((await dropped()).event.reason, 'ContainerdUnreachable');
    end();
    const expected = ['SandboxProven', 'SandboxProven', ...Array(16).fill('ShimNotFound')];
    assert.deepEqual(await reasons(18), expected);
  });

  it('loses no event while a request is running', async (t) => {
    const { sender, server, reasons } = await senderOf(t);
    const names = Array.from({ length: 17 }, (_, index) => `Reason${index}`);
    for (const name of names) {
      sender.send({ ...eventOf(BROKEN, 'node-1', 'uid-1'), reason: name });
      if (name === names[0]) await new Promise((wake) => setImmediate(wake));
    }
    assert.ok(server.requests.length <= 1);
    assert.deepEqual(await reasons(17), names);
  });
});

/** A reporter that records its log lines and, unless `silent`, its events. */
function reporter({ silent = false } = {}) {
  const lines: string[] = [];
  const sent: KubeEvent[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
  const events = { send: (event: KubeEvent) => sent.push(event) };
  return { lines, sent, reporter: new PodReporter(log, silent ? undefined : events) };
}

const pod = (name: string): Pod => ({
  namespace: 'eval',
  name,
  uid: `uid-${name}`,
  handler: '',
  sandboxed: false,
  evidence: 'process 12 is "/pause"',
});

describe('PodReporter', () => {
  it('reports each unsandboxed pod once, and again if it comes back', () => {
    const { reporter: pods, sent, lines } = reporter();
    for (const seen of [['a'], ['a', 'b'], ['b'], ['a', 'b']]) pods.publish(seen.map(pod), []);
    const names = sent.map(({ about }) => about.name);
    assert.deepEqual(names, ['a', 'b', 'a']);
    assert.deepEqual(sent[0], {
      about: { kind: 'Pod', namespace: 'eval', name: 'a', uid: 'uid-a' },
      type: 'Warning',
      reason: 'UnsandboxedPod',
      message:
        'This pod runs on the kernel of the node, and its namespace requires gVisor (gvisor-ready.dev/require=true): process 12 is "/pause", handler "". End it, and start it with a runtimeClassName of gVisor.',
    });
    assert.equal(lines.length, 3);
  });

  it('reports the weaknesses of a pod once, and separately if it is unsandboxed', () => {
    const { reporter: pods, sent, lines } = reporter();
    const weak = [{ flag: 'host-uds', value: 'all', severity: 'blocker', why: 'way out' }] as const;
    const weakened = { ...pod('a'), handler: 'runsc', sandboxed: true, weak };
    for (let count = 0; count < 2; count++) pods.publish([], [weakened]);
    pods.publish([pod('a')], [weakened]);
    const reasons = sent.map(({ reason }) => reason);
    assert.deepEqual(reasons, ['WeakenedPod', 'UnsandboxedPod']);
    assert.equal(
      sent[0]?.message,
      'The sandbox of this pod is weakened: process 12 is "/pause", handler "runsc". Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.',
    );
    assert.equal(lines.length, 2);
  });

  it('logs without events', () => {
    const { reporter: pods, lines } = reporter({ silent: true });
    pods.publish([pod('a')], []);
    assert.equal(lines.length, 1);
  });
});
