import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { learnHousekeeping } from '../../../agent/proof/bait.ts';
import { Housekeeping } from '../../../agent/proof/housekeeping.ts';
import { refuses, type Script } from './containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './fake-containerd.ts';

const CGROUP = '/kubepods/besteffort';

async function learn(t: TestContext, scripts: Record<string, Script>, kubelet: (c: FakeContainerd) => void) {
  const { containerd, client } = await fakeContainerd(t, scripts);
  kubelet(containerd);
  let nowMs = 0;
  const housekeeping = new Housekeeping(() => nowMs);
  await learnHousekeeping(client, housekeeping, CGROUP, AbortSignal.timeout(20_000), 300);
  nowMs = 1_000;
  return { containerd, housekeeping };
}

/** Stops the first sandbox that it hears of, as the kubelet does with what it does not know. */
async function stopFirst(containerd: FakeContainerd): Promise<void> {
  await containerd.called('PodSandboxStatus');
  for (const sandbox of containerd.sandboxes.values()) sandbox.state = 'SANDBOX_NOTREADY';
}

describe('learnHousekeeping', () => {
  it('lets the kubelet stop an empty sandbox of the default runtime, and leaves nothing of it', async (t) => {
    const { containerd, housekeeping } = await learn(t, {}, (fake) => void stopFirst(fake));
    const run = containerd.requests.find(({ method }) => method === 'RunPodSandbox')?.request;
    assert.equal(run.runtimeHandler, '');
    assert.equal(run.config.hostname, '');
    assert.equal(run.config.linux.cgroupParent, CGROUP);
    assert.equal(housekeeping.waitMs, 1_150);
    assert.equal(containerd.sandboxes.size, 0);
    assert.ok(!containerd.calls.includes('CreateContainer'));
  });

  it('gives up on a kubelet that stops nothing', async (t) => {
    const { containerd, housekeeping } = await learn(t, {}, () => {});
    assert.equal(housekeeping.waitMs, 0);
    assert.equal(containerd.sandboxes.size, 0);
  });

  it('does without where no such sandbox can be had', async (t) => {
    const { housekeeping } = await learn(t, { RunPodSandbox: refuses('no runtime') }, () => {});
    assert.equal(housekeeping.waitMs, 0);
  });

  it('takes an answer that does not come for no stop', async (t) => {
    const { housekeeping } = await learn(t, { PodSandboxStatus: refuses('busy') }, () => {});
    assert.equal(housekeeping.waitMs, 0);
  });
});
