import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { tearDown } from '../../../agent/proof/teardown.ts';
import { HANGS, refuses } from './containerd-scripts.ts';
import { brief, scene } from './scene.ts';

const STOP_MS = 100;
const PRESSURE = (share: string) => `some avg10=${share} avg60=${share} avg300=0.00 total=0\n`;

describe('tearDown', () => {
  for (const [what, script, share, expected] of [
    ['does not end', HANGS, '0.00', 'stuck SandboxStuck'],
    ['does not end', HANGS, '90.00', 'impossible CheckTimedOut'],
    ['is refused', refuses('busy'), '0.00', 'stuck SandboxStuck'],
    ['is refused', refuses('busy'), '90.00', 'impossible CheckTimedOut'],
  ] as const) {
    it(`calls a stop that ${what}, at ${share} % of pressure, ${expected}`, async (t) => {
      const { containerd, client, host } = await scene(t, { StopPodSandbox: script });
      await mkdir(join(host.root, 'proc/pressure'), { recursive: true });
      await writeFile(join(host.root, 'proc/pressure/cpu'), PRESSURE(share));
      const id = await client.runSandbox({ metadata: {}, labels: {}, linux: {} }, 'runsc');
      const outcome = await tearDown({ client, host }, id, STOP_MS);
      assert.ok(typeof outcome === 'object');
      assert.equal(brief(outcome), expected);
      assert.equal(containerd.count('RemovePodSandbox'), 0);
    });
  }
});
