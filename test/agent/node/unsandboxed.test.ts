import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import type { KubeEvent } from '../../../agent/kube/event.ts';
import { UnsandboxedReporter } from '../../../agent/node/unsandboxed.ts';
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
  return { lines, log: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }) };
}

describe('UnsandboxedReporter', () => {
  it('says once of each pod, and again of one that came back', () => {
    const told: KubeEvent[] = [];
    const { log, lines } = logOf();
    const reporter = new UnsandboxedReporter(log, { send: (event) => told.push(event) });
    for (const names of [['a'], ['a', 'b'], ['b'], ['a', 'b']]) reporter.publish(names.map(pod));
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

  it('logs where no events are sent', () => {
    const { log, lines } = logOf();
    new UnsandboxedReporter(log, undefined).publish([pod('a')]);
    assert.equal(lines.length, 1);
  });
});
