import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { createPodReporter, eventOf } from '../../../agent/publish/events.ts';
import type { KubeEvent } from '../../../lib/kube/event.ts';
import type { Pod } from '../../../lib/pods/pod.ts';
import { PROVEN_VERDICT, verdictOf } from '../reports.ts';

describe('eventOf', () => {
  it('is Normal for a proof and Warning otherwise, with short ids and the end of a long message', () => {
    assert.equal(eventOf(PROVEN_VERDICT, 'node-1', 'uid-1').type, 'Normal');
    const message = `sandbox ${'0123456789abcdef'.repeat(4)}: ${'x'.repeat(2_000)}: EACCES`;
    const event = eventOf({ ...verdictOf('False', 'ShimNotFound'), message }, 'node-1', 'uid-1');
    assert.deepEqual([event.type, event.message.length], ['Warning', 1_024]);
    assert.match(event.message, /^sandbox 0123456789ab: x+ … x+: EACCES$/);
  });
});

/** A reporter that records its log lines and, unless `silent`, its events. */
function reporter({ silent = false } = {}) {
  const lines: string[] = [];
  const sent: KubeEvent[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
  const events = { send: (event: KubeEvent) => sent.push(event) };
  return { lines, sent, reporter: createPodReporter(log, silent ? undefined : events, ['runsc']) };
}

const pod = (name: string): Pod => ({
  namespace: 'eval',
  name,
  uid: `uid-${name}`,
  handler: '',
  sandboxed: false,
  evidence: 'process 12 is "/pause"',
});

describe('createPodReporter', () => {
  it('reports each unsandboxed pod once, and again if it comes back', () => {
    const { reporter: pods, sent, lines } = reporter();
    for (const seen of [['a'], ['a', 'b'], ['b'], ['a', 'b']]) pods(seen.map(pod), []);
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

  it('says of a pod that asked for gVisor that its handler ran something else', () => {
    const { reporter: pods, sent } = reporter();
    pods([{ ...pod('a'), handler: 'runsc' }], []);
    assert.equal(
      sent[0]?.message,
      'This pod runs on the kernel of the node, and its handler is to be gVisor: process 12 is "/pause", handler "runsc". End it, and start it again once the handler is proven.',
    );
  });

  it('reports the weaknesses of a pod once, and separately if it is unsandboxed', () => {
    const { reporter: pods, sent, lines } = reporter();
    const weak = [{ flag: 'host-uds', value: 'all', severity: 'blocker', why: 'way out' }] as const;
    const weakened = { ...pod('a'), handler: 'runsc', sandboxed: true, weak };
    for (let count = 0; count < 2; count++) pods([], [weakened]);
    pods([pod('a')], [weakened]);
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
    pods([pod('a')], []);
    assert.equal(lines.length, 1);
  });
});
