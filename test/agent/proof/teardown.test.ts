import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tearDown } from '../../../agent/proof/boot.ts';
import { runCpus } from '../host/cpu-times.ts';
import { HANGS, refuses } from './containerd-scripts.ts';
import { brief, scene } from './scene.ts';

const STOP_MS = 100;

describe('tearDown', () => {
  for (const [what, script, idle, expected] of [
    ['does not end', HANGS, 90, 'stuck SandboxStuck'],
    ['does not end', HANGS, 0, 'impossible CheckTimedOut'],
    ['is refused', refuses('busy'), 90, 'stuck SandboxStuck'],
    ['is refused', refuses('busy'), 0, 'impossible CheckTimedOut'],
  ] as const) {
    it(`calls a stop that ${what}, on CPUs that are ${idle} % idle, ${expected}`, async (t) => {
      const { containerd, client, host } = await scene(t, { StopPodSandbox: script });
      runCpus(t, host, idle);
      const id = await client.runSandbox({ metadata: {}, labels: {}, linux: {} }, 'runsc');
      const outcome = await tearDown({ client, host }, id, STOP_MS);
      assert.ok(typeof outcome === 'object');
      assert.equal(brief(outcome), expected);
      assert.equal(containerd.count('RemovePodSandbox'), 0);
    });
  }
});
