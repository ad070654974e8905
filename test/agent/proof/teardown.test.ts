import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { tearDown } from '../../../agent/proof/teardown.ts';
import { HANGS } from './containerd-scripts.ts';
import { brief, scene } from './scene.ts';

const STOP_MS = 100;
const PRESSURE = (share: string) => `some avg10=${share} avg60=${share} avg300=0.00 total=0\n`;

describe('tearDown', () => {
  for (const [share, expected] of [
    ['0.00', 'stuck SandboxStuck'],
    ['90.00', 'impossible CheckTimedOut'],
  ] as const) {
    it(`calls a stop that does not end, at ${share} % of pressure, ${expected}`, async (t) => {
      const { containerd, client, host } = await scene(t, { StopPodSandbox: HANGS });
      await mkdir(join(host.root, 'proc/pressure'), { recursive: true });
      await writeFile(join(host.root, 'proc/pressure/cpu'), PRESSURE(share));
      const id = await client.runSandbox({ metadata: {}, labels: {}, linux: {} }, 'runsc');
      const outcome = await tearDown({ client, host }, id, STOP_MS);
      assert.ok(outcome);
      assert.equal(brief(outcome), expected);
      assert.equal(containerd.count('RemovePodSandbox'), 0);
    });
  }
});
