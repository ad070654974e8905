import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import type { KubeEvent } from '../../../agent/kube/event.ts';
import { PodReporter } from '../../../agent/node/events.ts';
import type { Pod } from '../../../agent/pods/pod.ts';

const pod = (name: string): Pod => ({
  namespace: 'eval',
  name,
  uid: `uid-${name}`,
  handler: '',
  sandboxed: false,
  evidence: 'process 12 is "/pause"',
});

function logOf() {
  const lines: string[] = [];
  return { lines, log: pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }) };
}

describe('PodReporter', () => {
  it('says once of each pod, and again of one that came back', () => {
    const told: KubeEvent[] = [];
    const { log, lines } = logOf();
    const reporter = new PodReporter(log, { send: (event) => told.push(event) });
    for (const names of [['a'], ['a', 'b'], ['b'], ['a', 'b']]) reporter.publish(names.map(pod), []);
    assert.deepEqual(
      told.map(({ about }) => about.name),
      ['a', 'b', 'a'],
    );
    assert.deepEqual(told[0], {
      about: { kind: 'Pod', namespace: 'eval', name: 'a', uid: 'uid-a' },
      type: 'Warning',
      reason: 'UnsandboxedPod',
      message:
        'This pod runs on the kernel of the node, and its namespace requires gVisor (require-gvisor=true): process 12 is "/pause", handler "". End it, and start it with a runtimeClassName of gVisor.',
    });
    assert.equal(lines.length, 3);
  });

  it('says of one whose sandbox is weakened what weakens it, once, and again where it is outside as well', () => {
    const told: KubeEvent[] = [];
    const { log, lines } = logOf();
    const reporter = new PodReporter(log, { send: (event) => told.push(event) });
    const weak = [{ flag: 'host-uds', value: 'all', severity: 'blocker', why: 'way out' }] as const;
    const weakened = { ...pod('a'), handler: 'runsc', sandboxed: true, weak };
    for (let round = 0; round < 2; round++) reporter.publish([], [weakened]);
    reporter.publish([pod('a')], [weakened]);
    assert.deepEqual(
      told.map(({ reason }) => reason),
      ['WeakenedPod', 'UnsandboxedPod'],
    );
    assert.equal(
      told[0]?.message,
      'The sandbox of this pod is weakened: process 12 is "/pause", handler "runsc". Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.',
    );
    assert.equal(lines.length, 2);
  });

  it('logs where no events are sent', () => {
    const { log, lines } = logOf();
    new PodReporter(log, undefined).publish([pod('a')], []);
    assert.equal(lines.length, 1);
  });
});
