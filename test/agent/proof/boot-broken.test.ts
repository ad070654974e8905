import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { GARBAGE, HANGS, Refusal, refuses } from './containerd-scripts.ts';
import { brief, scene } from './scene.ts';

describe('boot, when containerd breaks', { concurrency: true }, () => {
  it('asks again to stop what the kubelet stops at the same moment', async (t) => {
    const { containerd, run } = await scene(t);
    let asked = 0;
    containerd.scripts = {
      StopPodSandbox: (request) => {
        asked += 1;
        if (asked === 1) throw new Refusal('failed to stop sandbox "sandbox-1": task must be stopped');
        return containerd.usual('StopPodSandbox', request);
      },
    };
    assert.equal(brief(await run()), 'proven');
    assert.equal(asked, 2);
  });

  it('needs no removal of what is gone, and suffers what cannot be removed', async (t) => {
    const gone = refuses('not found', status.NOT_FOUND);
    const without = await scene(t, { StopPodSandbox: gone, RemovePodSandbox: gone });
    assert.equal(brief(await without.run()), 'proven');
    const kept = await scene(t, { RemovePodSandbox: refuses('device or resource busy') });
    assert.equal(brief(await kept.run()), 'proven');
  });

  it('is stuck when a sandbox runs on after its time to stop', async (t) => {
    const late = refuses('context deadline exceeded', status.DEADLINE_EXCEEDED);
    const { run } = await scene(t, { StopPodSandbox: late });
    const outcome = await run();
    assert.equal(brief(outcome), 'stuck SandboxStuck');
    assert.match(outcome.message, /does not go away, StopPodSandbox failed: .*context deadline exceeded/);
  });

  it('makes no other where neither its PIDs nor its stop are answered', async (t) => {
    const late = refuses('context deadline exceeded', status.DEADLINE_EXCEEDED);
    const { containerd, run } = await scene(t, { StopPodSandbox: late, 'Tasks.ListPids': late });
    assert.equal(brief(await run()), 'stuck SandboxStuck');
    assert.equal(containerd.count('RunPodSandbox'), 1);
  });

  it('is not stuck when a stop is late and the sandbox has ended all the same', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.scripts = {
      StopPodSandbox: (request) => {
        containerd.usual('StopPodSandbox', request);
        throw new Refusal('context deadline exceeded', status.DEADLINE_EXCEEDED);
      },
    };
    assert.equal(brief(await run()), 'proven');
  });

  for (const method of ['RunPodSandbox', 'PodSandboxStatus', 'Tasks.ListPids']) {
    it(`is impossible when ${method} is answered with garbage`, async (t) => {
      const { run, clock } = await scene(t, { [method]: GARBAGE });
      clock.stepMs = 1_000;
      assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
    });
  }

  for (const method of ['RunPodSandbox', 'PodSandboxStatus', 'Tasks.ListPids', 'StopPodSandbox']) {
    it(`is impossible when containerd goes in ${method}`, async (t) => {
      const { containerd, run, clock } = await scene(t);
      clock.stepMs = 1_000;
      containerd.scripts = {
        [method]: async (request) => {
          await containerd.stop();
          return HANGS(request);
        },
      };
      assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
    });
  }

  it('does not believe the last words of a containerd that is gone a moment later', async (t) => {
    const { run } = await scene(t, {
      RunPodSandbox: refuses('OCI runtime create failed: signal: killed'),
      Version: refuses('shutting down', status.UNAVAILABLE),
    });
    assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
  });

  const errors: readonly [string, string][] = [
    ['no runtime for "runsc" is configured', 'failed HandlerNotLoaded'],
    ['exec: "runsc": executable file not found in $PATH', 'failed RunscNotFound'],
    ['something else', 'failed SandboxFailed'],
    [
      'fork/exec /usr/bin/containerd-shim-runsc-v1: resource temporarily unavailable',
      'impossible NodeExhausted',
    ],
    ['error creating systemd unit `x.scope`: got timeout', 'impossible CheckTimedOut'],
    ['failed to get sandbox image "pause": not found', 'impossible SandboxImageMissing'],
    ['failed to pull image "pause": dial tcp 10.0.0.1:443: i/o timeout', 'impossible SandboxImageMissing'],
  ];
  for (const [words, expected] of errors) {
    it(`is ${expected} when RunPodSandbox says: ${words}`, async (t) => {
      const { containerd, run } = await scene(t, { RunPodSandbox: refuses(words) });
      const outcome = await run();
      assert.deepEqual([brief(outcome), outcome.message], [expected, words]);
      assert.equal(containerd.count('RunPodSandbox'), 1);
    });
  }
});

describe('boot, at a sandbox that does not stop', () => {
  it('asks five times, with pauses, before it is stuck', async (t) => {
    const { containerd, run } = await scene(t, { StopPodSandbox: refuses('task must be stopped') }, 600_000);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let ended = false;
    const outcome = run().finally(() => {
      ended = true;
    });
    for (let stops = -1; !ended; ) {
      const stopped = containerd.count('StopPodSandbox');
      // A pause begins when the refusal has come back.
      if (stopped !== stops) t.mock.timers.tick(0);
      else t.mock.timers.tick(10);
      stops = stopped;
      await setImmediate();
    }
    assert.equal(brief(await outcome), 'stuck SandboxStuck');
    assert.equal(containerd.count('StopPodSandbox'), 5);
  });
});
