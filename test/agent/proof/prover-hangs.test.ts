import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers, { setImmediate } from 'node:timers/promises';
import { PROBE_LABELS } from '../../../agent/proof/sandbox.ts';
import { HANGS, refuses, type Script } from './containerd-scripts.ts';
import { brief, gvisorBoots, NEVER, onlyGvisor, proverScene } from './scene.ts';

const HANG_MS = 1_000;
const HOUR_MS = 3_600_000;

/** A prover whose boots hang. `look` moves the clock and proves; `boots` waits until there were so many of them. */
async function hanging(t: TestContext) {
  const made = await proverScene(t, {}, { hangMs: HANG_MS });
  const { prover, clock, containerd } = made;
  containerd.scripts = onlyGvisor(containerd, HANGS);
  const look = async (afterMs: number, changed = false) => {
    clock.nowMs += afterMs;
    if (changed) prover.changed();
    return brief(await prover.prove(NEVER));
  };
  const boots = async (wanted: number) => {
    while (gvisorBoots(containerd) < wanted) await containerd.called('RunPodSandbox');
    assert.equal(gvisorBoots(containerd), wanted);
  };
  /** Gives up on a boot, and begins another, until so many hang. */
  const hang = async (times: number) => {
    await look(0);
    for (let n = 1; n <= times; n++) {
      await boots(n);
      assert.equal(await look(HANG_MS), 'failed SandboxHangs');
      if (n < times) await look(0);
    }
  };
  return { ...made, look, boots, hang };
}

describe('Prover, when sandboxes hang', { concurrency: true }, () => {
  it('fails on an idle node once a boot took longer than the kubelet waits, and not before', async (t) => {
    const { look, boots, prover, containerd } = await hanging(t);
    assert.equal(await look(0), 'slow SandboxSlow');
    await boots(1);
    assert.equal(await look(HANG_MS - 1), 'slow SandboxSlow');
    assert.equal(await look(1), 'failed SandboxHangs');
    await boots(1);
    const outcome = await prover.prove(NEVER);
    assert.equal(
      outcome.message,
      "no sandbox booted within 1 s, after which the kubelet gives up on a pod's; 1 of them still hang",
    );
    assert.deepEqual(containerd.cancelled, []);
  });

  it('tolerates a boot that takes up to ten times as long as that of runc', async (t) => {
    const { look, boots, prover, clock, containerd } = await hanging(t);
    containerd.scripts = {
      RunPodSandbox: (request) => {
        if (request.runtimeHandler === 'runsc') return HANGS(request);
        clock.nowMs += 200; // each control
        return containerd.usual('RunPodSandbox', request);
      },
    };
    await look(0);
    await boots(1);
    assert.deepEqual(await prover.prove(NEVER), {
      kind: 'slow',
      reason: 'SandboxSlow',
      message: 'a sandbox has been booting for 0 s; one of handler "runc" started in 0.2 s',
      tolerated: true,
    });
    await prover.finish(500); // the control is removed, the boot hangs on
    clock.nowMs = 1_700;
    const later = await prover.prove(NEVER);
    await prover.finish(500);
    const last = await look(0);
    assert.deepEqual([brief(later), last], ['slow SandboxSlow', 'failed SandboxHangs']);
  });

  it('tolerates no boot because a pod is throttled while runc is quick', async (t) => {
    const { look, prover, boots, press } = await hanging(t);
    press(true);
    await look(0);
    await boots(1);
    const outcome = await look(HANG_MS - 1).then(() => prover.prove(NEVER));
    assert.ok(outcome.kind === 'slow' && outcome.tolerated === false, JSON.stringify(outcome));
  });

  it('tolerates nothing where containerd has no handler that runs runc', async (t) => {
    const { look, prover, containerd } = await hanging(t);
    const config = JSON.stringify({
      containerd: { runtimes: { runsc: { runtimeType: 'io.containerd.runsc.v1' } } },
    });
    containerd.scripts = { RunPodSandbox: HANGS, Status: () => ({ info: { config } }) };
    const begun = containerd.called('RunPodSandbox');
    await look(0);
    await begun;
    assert.equal(
      (await prover.prove(NEVER)).message,
      'a sandbox has been booting for 0 s; there is no sandbox of runc to compare it with',
    );
    assert.equal(await look(HANG_MS), 'failed SandboxHangs');
  });

  it('tolerates a boot beside a control that has not ended either', async (t) => {
    const made = await proverScene(t, { RunPodSandbox: HANGS }, { hangMs: HANG_MS, controlMs: 0 });
    const begun = made.containerd.called('RunPodSandbox');
    await made.prover.prove(NEVER);
    await begun;
    const control = made.containerd.called('RunPodSandbox');
    await made.prover.prove(NEVER);
    await control;
    made.clock.nowMs += 10 * HANG_MS;
    assert.match(
      (await made.prover.prove(NEVER)).message,
      /for 10 s; one of handler "runc" has been starting for 10.0 s/,
    );
    assert.equal(
      made.containerd.requests.filter(({ request }) => request.runtimeHandler === 'runc').length,
      1,
    );
  });

  it('probes again after a hang, still fails meanwhile, and takes a proof at once', async (t) => {
    const { look, boots, hang, containerd, prover, told } = await hanging(t);
    await hang(1);
    containerd.scripts = {};
    assert.equal(await look(0), 'failed SandboxHangs');
    await boots(2);
    await prover.finish(60_000);
    assert.equal(told.ends, 1);
    assert.equal(await look(0), 'proven');
    // After a proof a slow boot is slow again, whatever hung before.
    containerd.scripts = onlyGvisor(containerd, HANGS);
    assert.equal(await look(0), 'slow SandboxSlow');
  });

  it('leaves three to themselves, and tries one more an hour', async (t) => {
    const { look, boots, hang } = await hanging(t);
    await hang(3);
    assert.equal(await look(HOUR_MS - 1), 'failed SandboxHangs');
    await boots(3);
    assert.equal(await look(1), 'failed SandboxHangs');
    await boots(4);
  });

  it('tries at once when something changed', async (t) => {
    const { look, boots, hang } = await hanging(t);
    await hang(3);
    await look(0);
    await boots(3);
    await look(0, true);
    await boots(4);
  });

  it('removes the sandbox of a boot that ends after all, and then tries again', async (t) => {
    const { look, boots, hang, containerd, told } = await hanging(t);
    const { promise, resolve } = Promise.withResolvers<void>();
    const late: Script = async (request) => {
      await promise;
      return containerd.usual('RunPodSandbox', request);
    };
    containerd.scripts = onlyGvisor(containerd, late);
    await hang(3);
    resolve();
    while (told.ends < 3) await setImmediate();
    assert.equal(containerd.sandboxes.byId.size, 0);
    containerd.scripts = onlyGvisor(containerd, HANGS);
    assert.equal(await look(0), 'failed SandboxHangs');
    await boots(4);
  });

  it('leaves three sandboxes that do not stop, then waits for one to go, a change or an hour', async (t) => {
    const stays = {
      StopPodSandbox: refuses('busy'),
      RemovePodSandbox: refuses('busy'),
      'Tasks.Delete': refuses('busy'),
    };
    const { prover, clock, containerd } = await proverScene(t, stays, { patienceMs: 600_000 });
    const outcome = async () => brief(await prover.prove(NEVER));
    for (let look = 0; look < 6; look++) {
      clock.nowMs += 1;
      assert.equal(await outcome(), 'stuck SandboxStuck');
    }
    assert.equal(gvisorBoots(containerd), 3);
    clock.nowMs += HOUR_MS;
    assert.equal(await outcome(), 'stuck SandboxStuck');
    assert.equal(gvisorBoots(containerd), 4);
    clock.nowMs += 1;
    assert.equal(await outcome(), 'stuck SandboxStuck');
    assert.equal(gvisorBoots(containerd), 4);
    prover.changed();
    assert.equal(await outcome(), 'stuck SandboxStuck');
    assert.equal(gvisorBoots(containerd), 5);
    containerd.scripts = {};
    assert.equal(await outcome(), 'proven');
    assert.equal(await outcome(), 'proven');
  });

  it('leaves three that do not stop also beside a boot that hangs', async (t) => {
    const { prover, hang, containerd } = await hanging(t);
    await hang(1);
    containerd.scripts = { StopPodSandbox: refuses('busy'), RemovePodSandbox: refuses('busy') };
    /** What a boot comes to in its time: the pauses between two stops are real. */
    const outcome = async () => {
      for (;;) {
        const word = brief(await prover.prove(NEVER));
        if (!/SandboxHangs|SandboxSlow/.test(word)) return word;
        await timers.setTimeout(20);
      }
    };
    for (let again = 0; again < 6; again++) assert.equal(await outcome(), 'stuck SandboxStuck');
    // One of the three that stay is the control.
    assert.equal(containerd.sandboxes.byId.size, 3);
  });

  it("sweeps away no container while a boot hangs, since one is the boot's", async (t) => {
    const { look, boots, hang, containerd } = await hanging(t);
    await hang(1);
    containerd.sandboxes.records.set('of-the-boot-that-hangs', { labels: PROBE_LABELS, task: true });
    containerd.sandboxes.addProbe('left');
    await look(0);
    await boots(2);
    assert.deepEqual([...containerd.sandboxes.records.keys()], ['of-the-boot-that-hangs']);
  });
});
