import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { PROBE_LABELS } from '../../../agent/proof/sandbox.ts';
import { HANGS, refuses } from './containerd-scripts.ts';
import { brief, gate, gvisorBoots, NEVER, onlyGvisor, proverScene } from './scene.ts';

const PATIENT = { patienceMs: 60_000 };

describe('Prover', { concurrency: true }, () => {
  it('proves, and remembers what the proof showed', async (t) => {
    const { prover, told } = await proverScene(t, {}, PATIENT);
    assert.deepEqual([prover.witness], [undefined]);
    const outcome = await prover.prove(NEVER);
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.equal(prover.witness, outcome.witness);
    assert.equal(prover.witness?.shim, '/usr/local/bin/containerd-shim-runsc-v1');
    // A boot that a look waits for rings no bell.
    assert.deepEqual(told, { ends: 0, left: [] });
  });

  it('boots anew for each look, and keeps the last witness while it fails', async (t) => {
    const { prover, containerd } = await proverScene(t, {}, PATIENT);
    const first = await prover.prove(NEVER);
    const second = await prover.prove(NEVER);
    assert.ok(first.kind === 'proven' && second.kind === 'proven' && first !== second);
    containerd.scripts = { RunPodSandbox: refuses('something else') };
    assert.equal(brief(await prover.prove(NEVER)), 'failed SandboxFailed');
    assert.equal(prover.witness, second.witness);
    assert.equal(gvisorBoots(containerd), 3);
  });

  it('sweeps before each boot, and tells of what stays when that changes', async (t) => {
    const stays = { 'Tasks.Delete': refuses('busy') };
    const { prover, containerd, told } = await proverScene(t, stays, PATIENT);
    const { sandboxes } = containerd;
    sandboxes.addProbe('predecessor');
    sandboxes.records.set('stubborn', { labels: PROBE_LABELS, task: true });
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(sandboxes.byId.has('predecessor'), false);
    assert.deepEqual(told.left, [1]);
    containerd.scripts = {};
    await prover.prove(NEVER);
    assert.deepEqual(told.left, [1, 0]);
  });

  it('is impossible, and boots nothing, where it cannot sweep', async (t) => {
    const { prover, containerd } = await proverScene(t, { ListPodSandbox: refuses('no') }, PATIENT);
    assert.equal(brief(await prover.prove(NEVER)), 'impossible CheckFailed');
    assert.equal(gvisorBoots(containerd), 0);
  });

  it('waits no longer than its patience, and gives the end of that boot to the next look', async (t) => {
    const made = await proverScene(t);
    const { prover, containerd, clock, told } = made;
    const { script, open } = gate(containerd, 'RunPodSandbox');
    containerd.scripts = { RunPodSandbox: script };
    const started = containerd.called('RunPodSandbox');
    const slow = await prover.prove(NEVER);
    assert.equal(brief(slow), 'slow SandboxSlow');
    assert.match(slow.message, /^(earlier probes have been swept away|a sandbox has been booting) for 0 s/);
    await started;
    clock.nowMs += 900;
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    assert.equal(told.ends, 0);
    const removed = containerd.called('RemovePodSandbox');
    open();
    await removed;
    await prover.finish(60_000);
    assert.deepEqual([told.ends, gvisorBoots(containerd)], [1, 1]);
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(gvisorBoots(containerd), 1);
    assert.deepEqual(containerd.cancelled, []);
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    await prover.finish(60_000);
    assert.equal(gvisorBoots(containerd), 2);
  });

  for (const [what, script, expected] of [
    ['starts', undefined, 'failed SandboxFailed'],
    ['fails as well', refuses('something else'), 'impossible NoSandboxStarts'],
    ['finds no space', refuses('mkdir x: no space left on device'), 'impossible NodeExhausted'],
    [
      'finds no process',
      refuses('fork/exec x: resource temporarily unavailable'),
      'impossible NodeExhausted',
    ],
    ['is late', refuses('context deadline exceeded'), 'impossible CheckTimedOut'],
    ['does not end', HANGS, 'impossible CheckTimedOut'],
  ] as const)
    it(`takes a failure for ${expected} where a sandbox of runc ${what}`, async (t) => {
      const { prover, containerd } = await proverScene(t, {}, { controlMs: script === HANGS ? 0 : 60_000 });
      if (script !== undefined) containerd.scripts = { RunPodSandbox: script };
      const failed = { kind: 'failed', reason: 'SandboxFailed', message: 'runsc failed' } as const;
      const outcome = await prover.compare(failed, NEVER);
      assert.equal(brief(outcome), expected);
      assert.match(outcome.message, /runsc failed$/);
      if (script !== HANGS) await prover.finish(60_000);
      assert.equal(containerd.sandboxes.byId.size, 0);
    });

  it('counts its patience from the begin of the boot, not of the look', { timeout: 60_000 }, async (t) => {
    const { prover, containerd, clock } = await proverScene(
      t,
      {},
      { patienceMs: 600_000, hangMs: 3_600_000 },
    );
    containerd.scripts = onlyGvisor(containerd, HANGS);
    const stop = new AbortController();
    const started = containerd.called('RunPodSandbox');
    const first = assert.rejects(prover.prove(stop.signal));
    await started;
    stop.abort();
    await first;
    clock.nowMs += 600_000;
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
  });

  it('rejects when the look is aborted, and the boot goes on', async (t) => {
    const { prover, containerd } = await proverScene(t, {}, PATIENT);
    const { script, open } = gate(containerd, 'RunPodSandbox');
    containerd.scripts = { RunPodSandbox: script };
    const stop = new AbortController();
    const started = containerd.called('RunPodSandbox');
    const look = assert.rejects(prover.prove(stop.signal), /^Error: stop$/);
    await started;
    stop.abort(new Error('stop'));
    await look;
    assert.deepEqual(containerd.cancelled, []);
    open();
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(gvisorBoots(containerd), 1);
  });

  it('does not begin when the look is aborted already', async (t) => {
    const { prover, containerd } = await proverScene(t);
    await assert.rejects(prover.prove(AbortSignal.abort(new Error('stop'))), /^Error: stop$/);
    await prover.finish(0);
    assert.deepEqual(containerd.calls, []);
  });

  it('cancels nothing when the agent ends, waits for the boot, and begins no other attempt', async (t) => {
    const stop = new AbortController();
    const { prover, containerd } = await proverScene(t, {}, { signal: stop.signal });
    const { script, open } = gate(containerd, 'RunPodSandbox');
    containerd.scripts = {
      RunPodSandbox: script,
      PodSandboxStatus: (request) => {
        containerd.sandboxes.end(request.podSandboxId);
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    const started = containerd.called('RunPodSandbox');
    await prover.prove(NEVER);
    await started;
    stop.abort();
    let finished = false;
    const end = prover.finish(60_000).then(() => {
      finished = true;
    });
    await setImmediate();
    assert.deepEqual([finished, containerd.cancelled], [false, []]);
    open();
    await end;
    assert.deepEqual([gvisorBoots(containerd), containerd.sandboxes.byId.size], [1, 0]);
  });

  it('waits for a boot that hangs no longer than it is told, and for none not at all', async (t) => {
    const { prover, containerd } = await proverScene(t, {});
    containerd.scripts = onlyGvisor(containerd, HANGS);
    await prover.finish(600_000);
    await prover.prove(NEVER);
    await prover.finish(5);
    assert.deepEqual(containerd.cancelled, []);
  });
});
