import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { ProverOptions } from '../../../agent/proof/prover.ts';
import { HANGS, refuses, type Script } from '../../lib/proof/containerd-scripts.ts';
import { brief, gvisorStarts, NEVER, onlyGvisor, POD_LABELS, proverScene } from '../../lib/proof/scene.ts';

const WAITS = { waitMs: 60_000 };
const HANG_MS = 1_000;
const HOUR_MS = 3_600_000;

/** A prover whose `prove` returned before its probe; `end` lets the probe end. */
async function slowProbe(t: TestContext, changes: Partial<ProverOptions> = {}) {
  const setup = await proverScene(t, {}, changes);
  const { containerd, clock, prove, finish } = setup;
  const { open, started } = setup.holdStarts();
  assert.equal(await prove(), 'slow SandboxSlow');
  await started;
  clock.nowMs += 1;
  const end = async () => {
    const removed = containerd.called('RemovePodSandbox');
    open();
    await removed;
    await finish();
  };
  return { ...setup, open, end };
}

describe('Prover', { concurrency: true }, () => {
  it('proves and retains the witness', async (t) => {
    const { prover, calls } = await proverScene(t, {}, WAITS);
    assert.deepEqual([prover.witness], [undefined]);
    const outcome = await prover.prove(NEVER);
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.equal(prover.witness, outcome.witness);
    assert.equal(prover.witness?.shim, '/usr/local/bin/containerd-shim-runsc-v1');
    assert.deepEqual(calls, { lateEnds: 0, orphans: [] });
  });

  it('runs a new probe each time, and retains the last witness after a failure', async (t) => {
    const { prover, prove, containerd } = await proverScene(t, {}, WAITS);
    const first = await prover.prove(NEVER);
    const second = await prover.prove(NEVER);
    assert.ok(first.kind === 'proven' && second.kind === 'proven' && first !== second);
    containerd.scripts = { RunPodSandbox: refuses('something else') };
    assert.equal(await prove(), 'failed SandboxFailed');
    assert.equal(prover.witness, second.witness);
    assert.equal(gvisorStarts(containerd), 3);
  });

  it('knows when its probes and controls ran that have ended', async (t) => {
    const { prover, prove, clock, finish, takes, containerd } = await proverScene(t, {}, WAITS);
    containerd.scripts = takes('RunPodSandbox', 400);
    const ran = () => [100, 450, 10_100].map((ms) => prover.ranAt(ms));
    assert.deepEqual(ran(), [false, false, false]);
    await prove();
    assert.deepEqual(ran(), [true, true, false]);
    clock.nowMs = 10_000;
    const failed = { kind: 'failed', reason: 'SandboxFailed', message: '' } as const;
    await prover.compare(failed, failed, NEVER);
    await finish();
    assert.deepEqual(ran(), [true, true, true]);
  });

  it('is slow after its wait, and returns the outcome of that probe the next time', async (t) => {
    const { finish, prove, proveAfter, containerd, calls, end } = await slowProbe(t);
    for (const ms of [900, 0]) assert.equal(await proveAfter(ms), 'slow SandboxSlow');
    assert.equal(calls.lateEnds, 0);
    await end();
    assert.deepEqual([calls.lateEnds, gvisorStarts(containerd)], [1, 1]);
    assert.equal(await prove(), 'proven');
    assert.deepEqual([gvisorStarts(containerd), containerd.cancelled], [1, []]);
    assert.equal(await prove(), 'slow SandboxSlow');
    await finish();
    assert.equal(gvisorStarts(containerd), 2);
  });

  it('waits from the start of the probe, not of the evaluation', async (t) => {
    const { proveAfter, abortProof } = await proverScene(t, {}, { waitMs: 600_000, hangMs: HOUR_MS });
    await abortProof();
    assert.equal(await proveAfter(600_000), 'slow SandboxSlow');
  });

  it('continues a probe whose evaluation was aborted', async (t) => {
    const { prove, containerd, abortProof } = await proverScene(t, {}, WAITS);
    const open = await abortProof();
    assert.deepEqual(containerd.cancelled, []);
    open();
    assert.equal(await prove(), 'proven');
    assert.equal(gvisorStarts(containerd), 1);
  });

  it('starts nothing if the evaluation is already aborted', async (t) => {
    const { prover, containerd } = await proverScene(t);
    await assert.rejects(prover.prove(AbortSignal.abort(new Error('stop'))), /^Error: stop$/);
    await prover.finish(0);
    assert.deepEqual(containerd.calls, []);
  });

  it('waits for the probe when the agent stops, cancels nothing and makes no further attempt', async (t) => {
    const stop = new AbortController();
    const { prover, containerd, open } = await slowProbe(t, { signal: stop.signal });
    containerd.scripts = {
      PodSandboxStatus: (request) => {
        containerd.sandboxes.end(request.podSandboxId);
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    stop.abort();
    let finished = false;
    const end = prover.finish(60_000).then(() => {
      finished = true;
    });
    await setImmediate();
    assert.deepEqual([finished, containerd.cancelled], [false, []]);
    open();
    await end;
    assert.deepEqual([gvisorStarts(containerd), containerd.sandboxes.byId.size], [1, 0]);
  });

  it('stops waiting for a hanging probe when the agent stops, and does not wait without one', async (t) => {
    const { prover, prove, containerd } = await proverScene(t);
    containerd.scripts = onlyGvisor(containerd, HANGS);
    await prover.finish(600_000);
    await prove();
    await prover.finish(5);
    assert.deepEqual(containerd.cancelled, []);
  });
});

describe('Prover, after a change during a probe', { concurrency: true }, () => {
  it('ignores the outcome of a probe that started before', async (t) => {
    const { prover, prove, containerd, abortProof } = await proverScene(t, {}, WAITS);
    const open = await abortProof();
    prover.changed();
    const outcome = prove();
    open();
    assert.equal(await outcome, 'proven');
    assert.equal(gvisorStarts(containerd), 2);
  });

  it('remembers the change until the next proof', async (t) => {
    const { prover, prove, finish, containerd, end } = await slowProbe(t);
    prover.changed();
    await end();
    assert.equal(await prove(), 'slow SandboxSlow');
    await finish();
    assert.equal(await prove(), 'proven');
    assert.equal(gvisorStarts(containerd), 2);
  });

  it('ignores the outcome of a probe that ended long ago', async (t) => {
    const { prove, proveAfter, finish, containerd } = await proverScene(t);
    for (const ms of [0, HOUR_MS]) {
      assert.equal(await proveAfter(ms), 'slow SandboxSlow');
      await finish();
    }
    assert.equal(await prove(), 'proven');
    assert.equal(gvisorStarts(containerd), 2);
  });

  for (const busy of [false, true])
    it(`starts another probe beside a slow one ${busy ? 'under pressure' : 'on an idle node'}`, async (t) => {
      const { prover, prove, finish, containerd, end, setBusy } = await slowProbe(t, { hangMs: HOUR_MS });
      setBusy(busy);
      containerd.scripts = {};
      const again = containerd.called('RunPodSandbox');
      prover.changed();
      assert.equal(await prove(), 'slow SandboxSlow');
      await again;
      await finish();
      assert.equal(await prove(), 'proven');
      await end();
      assert.deepEqual([gvisorStarts(containerd), containerd.cancelled], [2, []]);
    });
});

/** A prover whose probes hang. */
async function hanging(t: TestContext) {
  const setup = await proverScene(t, {}, { hangMs: HANG_MS });
  const { prover, containerd, prove, proveAfter } = setup;
  containerd.scripts = onlyGvisor(containerd, HANGS);
  /** Waits until exactly this many sandboxes were requested. */
  const starts = async (count: number) => {
    while (gvisorStarts(containerd) < count) await containerd.called('RunPodSandbox');
    assert.equal(gvisorStarts(containerd), count);
  };
  /** Lets this many probes hang, one after the other. */
  const hang = async (times: number) => {
    await prove();
    for (let n = 1; n <= times; n++) {
      await starts(n);
      assert.equal(await proveAfter(HANG_MS), 'failed SandboxHangs');
      if (n < times) await prove();
    }
  };
  const message = async () => (await prover.prove(NEVER)).message;
  return { ...setup, starts, hang, message };
}

describe('Prover, when sandboxes hang', { concurrency: true }, () => {
  it('fails once a start exceeds the timeout of the kubelet, not before', async (t) => {
    const { proveAfter, starts, message, containerd } = await hanging(t);
    assert.equal(await proveAfter(0), 'slow SandboxSlow');
    await starts(1);
    assert.equal(await proveAfter(HANG_MS - 1), 'slow SandboxSlow');
    assert.equal(await proveAfter(1), 'failed SandboxHangs');
    await starts(1);
    assert.equal(
      await message(),
      "no sandbox booted within 1 s, after which the kubelet gives up on a pod's; 1 of them still hang",
    );
    assert.deepEqual(containerd.cancelled, []);
  });

  it('is slow, not hanging, while orphans are removed', async (t) => {
    const { prover, clock, containerd } = await proverScene(t, { ListPodSandbox: HANGS });
    await prover.prove(NEVER);
    clock.nowMs += 2_000;
    const { kind, message } = await prover.prove(NEVER);
    const why =
      "no sandbox could be started for 2 s: earlier ones are being removed, or another handler's boots";
    assert.deepEqual([kind, message], ['slow', why]);
    assert.equal(gvisorStarts(containerd), 0);
  });

  it('fails again at once while a new probe runs, and is proven once that probe is', async (t) => {
    const { prove, starts, hang, containerd, prover, calls } = await hanging(t);
    await hang(1);
    containerd.scripts = {};
    assert.equal(await prove(), 'failed SandboxHangs');
    await starts(2);
    await prover.finish(60_000);
    assert.equal(calls.lateEnds, 1);
    assert.equal(await prove(), 'proven');
    // A proof clears the hang.
    containerd.scripts = onlyGvisor(containerd, HANGS);
    assert.equal(await prove(), 'slow SandboxSlow');
  });

  it('abandons at most three probes, then starts one an hour or after a change', async (t) => {
    const { prover, proveAfter, starts, hang } = await hanging(t);
    await hang(3);
    assert.equal(await proveAfter(HOUR_MS - 1), 'failed SandboxHangs');
    await starts(3);
    assert.equal(await proveAfter(1), 'failed SandboxHangs');
    await starts(4);
    assert.equal(await proveAfter(HANG_MS), 'failed SandboxHangs');
    await proveAfter(0);
    await starts(4);
    prover.changed();
    await proveAfter(0);
    await starts(5);
  });

  it('removes the sandbox of an abandoned probe that ends, and then starts another', async (t) => {
    const { prove, starts, hang, containerd, calls } = await hanging(t);
    const { promise, resolve } = Promise.withResolvers<void>();
    const late: Script = async (request) => {
      await promise;
      return containerd.usual('RunPodSandbox', request);
    };
    containerd.scripts = onlyGvisor(containerd, late);
    await hang(3);
    resolve();
    while (calls.lateEnds < 3) await setImmediate();
    assert.equal(containerd.sandboxes.byId.size, 0);
    containerd.scripts = onlyGvisor(containerd, HANGS);
    assert.equal(await prove(), 'failed SandboxHangs');
    await starts(4);
  });
});

describe('Prover, beside a control', { concurrency: true }, () => {
  const failed = { kind: 'failed', reason: 'SandboxFailed', message: 'runsc failed' } as const;

  it('tolerates a start that takes up to ten times as long as that of runc', async (t) => {
    const { prove, starts, prover, clock, containerd } = await hanging(t);
    containerd.scripts = {
      RunPodSandbox: (request) => {
        if (request.runtimeHandler === 'runsc') return HANGS(request);
        clock.nowMs += 200;
        return containerd.usual('RunPodSandbox', request);
      },
    };
    await prove();
    await starts(1);
    assert.deepEqual(await prover.prove(NEVER), {
      kind: 'slow',
      reason: 'SandboxSlow',
      message: 'a sandbox has been booting for 0 s; one of handler "runc" took 0.2 s',
      tolerated: true,
    });
    await prover.finish(500); // removes the control; the probe still hangs
    clock.nowMs = 1_700;
    assert.equal(await prove(), 'slow SandboxSlow');
    await prover.finish(500);
    assert.equal(await prove(), 'failed SandboxHangs');
  });

  it('does not tolerate a slow start on a busy node if runc is quick', async (t) => {
    const { proveAfter, prover, starts, setBusy } = await hanging(t);
    setBusy(true);
    await proveAfter(0);
    await starts(1);
    await proveAfter(HANG_MS - 1);
    const outcome = await prover.prove(NEVER);
    assert.ok(outcome.kind === 'slow' && outcome.tolerated === false, JSON.stringify(outcome));
  });

  it('tolerates a start that takes up to twice as long as the last proven one', async (t) => {
    const { prover, proveAfter, finish, clock, containerd, end } = await slowProbe(t, { hangMs: HANG_MS });
    clock.nowMs += 400;
    await end();
    assert.equal(await proveAfter(0), 'proven');
    await finish();
    containerd.scripts = onlyGvisor(containerd, HANGS);
    const started = containerd.called('RunPodSandbox');
    const isTolerated = async () => {
      const outcome = await prover.prove(NEVER);
      return outcome.kind === 'slow' && outcome.tolerated;
    };
    await isTolerated();
    await started;
    clock.nowMs += 800;
    assert.equal(await isTolerated(), true);
    clock.nowMs += 10;
    assert.equal(await isTolerated(), false);
  });

  it('boots in the cgroup of a pod once runc has made it, after a boot whose own cgroup stays', async (t) => {
    const { prover, containerd } = await proverScene(t, {}, { waitMs: 60_000 });
    containerd.sandboxes.add('pod', POD_LABELS, {
      config: { linux: { cgroupParent: '/kubepods/burstable/pod2' } },
    });
    const leaves = refuses('OCI runtime create failed: creating container: cannot create sandbox: EOF');
    containerd.scripts = onlyGvisor(containerd, leaves);
    for (const _ of ['first', 'second']) {
      await prover.prove(NEVER);
      await prover.finish(60_000);
    }
    assert.deepEqual(
      containerd.requests
        .filter(({ method }) => method === 'RunPodSandbox')
        .map(({ request }) => `${request.runtimeHandler} ${request.config.linux.cgroupParent}`),
      [
        'runsc /kubepods/gvisor_ready',
        'runc /kubepods/gvisor_ready/pod_of_probes',
        'runsc /kubepods/gvisor_ready/pod_of_probes',
      ],
    );
  });

  it('tolerates nothing and compares with nothing without another handler for runc', async (t) => {
    const { prover, prove, proveAfter, message, containerd } = await hanging(t);
    const runtimes = { runsc: { runtimeType: 'io.containerd.runsc.v1' } };
    const config = JSON.stringify({ containerd: { runtimes } });
    containerd.scripts = { RunPodSandbox: HANGS, Status: () => ({ info: { config } }) };
    const started = containerd.called('RunPodSandbox');
    await prove();
    await started;
    const alone = 'a sandbox has been booting for 0 s; there is no sandbox of runc to compare it with';
    assert.equal(await message(), alone);
    assert.equal(await proveAfter(HANG_MS), 'failed SandboxHangs');
    assert.equal(await prover.compare(failed, { ...failed, reason: 'KvmRunsNoGuest' }, NEVER), failed);
  });

  it('tolerates a slow start while the last control is not gone, and then starts another', async (t) => {
    const { prover, containerd, clock, setBusy } = await proverScene(t, {}, { controlWaitMs: 200 });
    setBusy(false);
    const refused = { RemovePodSandbox: refuses('context deadline exceeded') };
    containerd.scripts = { ...onlyGvisor(containerd, HANGS), ...refused };
    const controls: number[] = [];
    const isTolerated = async () => {
      const outcome = await prover.prove(NEVER);
      const { requests } = containerd;
      controls.push(requests.filter(({ request }) => request.runtimeHandler === 'runc').length);
      return outcome.kind === 'slow' && outcome.tolerated === true;
    };
    const started = containerd.called('RunPodSandbox');
    await prover.prove(NEVER);
    await started;
    await isTolerated();
    for (const ms of [20_000, 40_000, 40_000]) {
      clock.nowMs += ms;
      assert.equal(await isTolerated(), true, `${clock.nowMs}`);
    }
    assert.deepEqual(controls, [1, 1, 1, 1]);
    containerd.scripts = onlyGvisor(containerd, HANGS);
    await isTolerated(); // removes the old one
    await isTolerated();
    assert.deepEqual(controls.at(-1), 2);
    await prover.finish(500);
    assert.equal(await isTolerated(), false, 'runc is quick again');
  });

  for (const method of ['Status', 'ListPodSandbox'])
    it(`tolerates a slow start if ${method} takes too long for a control`, async (t) => {
      const { prover, containerd, clock, setBusy } = await proverScene(t);
      setBusy(false);
      containerd.scripts = onlyGvisor(containerd, HANGS);
      const started = containerd.called('RunPodSandbox');
      await prover.prove(NEVER);
      await started;
      clock.nowMs += 200;
      containerd.scripts = { [method]: refuses('no answer', status.DEADLINE_EXCEEDED) };
      const outcome = await prover.prove(NEVER);
      assert.ok(outcome.kind === 'slow' && outcome.tolerated, JSON.stringify(outcome));
      assert.match(outcome.message, /one of handler "runc" could not be started: .*no answer$/);
    });

  for (const busy of [true, false])
    it(`${busy ? 'tolerates' : 'does not tolerate'} a slow start ${busy ? 'under pressure' : 'on an idle node'} without a handler for runc`, async (t) => {
      const { prover, containerd, clock, setBusy } = await proverScene(t);
      setBusy(busy);
      const runtimes = { runsc: { runtimeType: 'io.containerd.runsc.v1' } };
      const config = JSON.stringify({ containerd: { runtimes } });
      containerd.scripts = { RunPodSandbox: HANGS, Status: () => ({ info: { config } }) };
      const started = containerd.called('RunPodSandbox');
      await prover.prove(NEVER);
      await started;
      clock.nowMs += 200;
      const outcome = await prover.prove(NEVER);
      assert.ok(outcome.kind === 'slow' && outcome.tolerated === busy, JSON.stringify(outcome));
    });

  const late = {
    kind: 'inconclusive',
    reason: 'CheckTimedOut',
    message: 'context deadline exceeded',
  } as const;
  const stuck = { kind: 'stuck', reason: 'SandboxStuck', message: 'no answer within 20 s' } as const;
  for (const [failure, method] of [
    [late, 'RunPodSandbox'],
    [stuck, 'StopPodSandbox'],
  ] as const)
    for (const [ms, expected] of [
      [1_999, failure],
      [2_001, { ...late, tolerated: true }],
    ] as const)
      it(`takes ${failure.reason} ${'tolerated' in expected ? 'as slow' : 'as it is'} if runc takes ${ms} ms`, async (t) => {
        const { prover, containerd, takes, setBusy } = await proverScene(t);
        setBusy(false);
        containerd.scripts = takes(method, ms);
        const { message, ...outcome } = await prover.compare(failure, failure, NEVER);
        const { message: _, ...without } = expected;
        assert.deepEqual(outcome, without);
        assert.ok(message.startsWith(failure.message), message);
        await prover.finish(60_000);
      });

  it('tolerates a start beside a control that is still starting, and starts no other control', async (t) => {
    const hangs = { RunPodSandbox: HANGS };
    const { prover, containerd, clock } = await proverScene(t, hangs, { controlWaitMs: 0 });
    for (const _ of ['probe', 'control']) {
      const started = containerd.called('RunPodSandbox');
      await prover.prove(NEVER);
      await started;
    }
    clock.nowMs += 10_000;
    const { message } = await prover.prove(NEVER);
    assert.match(message, /for 10 s; one of handler "runc" has taken 10.0 s/);
    const controls = containerd.requests.filter(({ request }) => request.runtimeHandler === 'runc');
    assert.equal(controls.length, 1);
  });

  for (const [what, script, expected] of [
    ['starts', undefined, 'failed KvmRunsNoGuest'],
    ['fails as well', refuses('something else'), 'inconclusive NoSandboxStarts'],
    ['finds no space', refuses('mkdir x: no space left on device'), 'inconclusive NodeExhausted'],
    ['cannot fork', refuses("can't get final child's PID from pipe: EOF"), 'inconclusive NodeExhausted'],
    ['times out', refuses('context deadline exceeded'), 'inconclusive CheckTimedOut'],
    ['hangs', HANGS, 'inconclusive CheckTimedOut'],
  ] as const)
    it(`returns ${expected} for a failure if a sandbox of runc ${what}`, async (t) => {
      const controlWaitMs = script === HANGS ? 0 : 60_000;
      const { prover, containerd } = await proverScene(t, {}, { controlWaitMs });
      if (script !== undefined) containerd.scripts = { RunPodSandbox: script };
      const cleared = { ...failed, reason: 'KvmRunsNoGuest' } as const;
      const outcome = await prover.compare(failed, cleared, NEVER);
      assert.equal(brief(outcome), expected);
      assert.match(outcome.message, /runsc failed$/);
      if (script !== HANGS) await prover.finish(60_000);
      assert.equal(containerd.sandboxes.byId.size, 0);
    });
});
