import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { ProverOptions } from '../../../agent/proof/prover.ts';
import { brief, gate, gvisorBoots, NEVER, proverScene } from './scene.ts';

/** A prover for whose boot a look waited in vain; `open` lets containerd answer. */
async function slowBoot(t: TestContext, changes: Partial<ProverOptions> = {}, busy = false) {
  const made = await proverScene(t, {}, changes);
  const { prover, containerd, clock, press } = made;
  press(busy);
  const { script, open } = gate(containerd, 'RunPodSandbox');
  containerd.scripts = { RunPodSandbox: script };
  const started = containerd.called('RunPodSandbox');
  assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
  await started;
  clock.nowMs += 1;
  return { ...made, open };
}

describe('Prover, when something changes while a boot runs', { concurrency: true }, () => {
  it('takes no outcome of a boot that began before', async (t) => {
    const made = await proverScene(t, {}, { patienceMs: 60_000 });
    const { prover, containerd, clock } = made;
    const { script, open } = gate(containerd, 'RunPodSandbox');
    containerd.scripts = { RunPodSandbox: script };
    const stop = new AbortController();
    const started = containerd.called('RunPodSandbox');
    const first = assert.rejects(prover.prove(stop.signal));
    await started;
    stop.abort();
    await first;
    clock.nowMs += 1;
    prover.changed();
    const second = prover.prove(NEVER);
    open();
    assert.equal(brief(await second), 'proven');
    assert.equal(gvisorBoots(containerd), 2);
  });

  it('remembers the change, although the look that it caused asked for no proof', async (t) => {
    const { prover, containerd, open } = await slowBoot(t);
    prover.changed();
    const removed = containerd.called('RemovePodSandbox');
    open();
    await removed;
    await prover.finish(60_000);
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    await prover.finish(60_000);
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(gvisorBoots(containerd), 2);
  });

  for (const busy of [false, true]) {
    it(`begins another beside one that takes its patience, ${busy ? 'under pressure' : 'on an idle node'}`, async (t) => {
      const { prover, containerd, open } = await slowBoot(t, { patienceMs: 0, hangMs: 3_600_000 }, busy);
      containerd.scripts = {};
      const again = containerd.called('RunPodSandbox');
      prover.changed();
      assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
      await again;
      await prover.finish(60_000);
      assert.equal(brief(await prover.prove(NEVER)), 'proven');
      const removed = containerd.called('RemovePodSandbox');
      open();
      await removed;
      assert.deepEqual([gvisorBoots(containerd), containerd.cancelled], [2, []]);
    });
  }
});
