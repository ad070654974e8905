import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { OWNER, PROBE_LABELS } from '../../../agent/proof/sandbox.ts';
import { askedPaths, processesAmong } from '../host/asked-paths.ts';
import { Refusal, refuses, type Script } from './containerd-scripts.ts';
import { brief, POD, proverScene, type Scene, scene, vanish } from './scene.ts';

const requestOf = ({ containerd }: Scene, method: string) =>
  containerd.requests.find((each) => each.method === method);

/** Ends each sandbox when it is asked about for the first time, as long as `goes` says so. */
function mortal({ containerd }: Scene, goes: (nth: number) => boolean): Script {
  const asked = new Set<string>();
  return (request) => {
    const id: string = request.podSandboxId;
    if (!asked.has(id) && goes(asked.size)) containerd.sandboxes.end(id);
    asked.add(id);
    return containerd.usual('PodSandboxStatus', request);
  };
}

describe('boot', { concurrency: true }, () => {
  it('starts one sandbox, looks at it, asks its sentry, and removes it', async (t) => {
    const made = await scene(t);
    const outcome = await made.run();
    assert.equal(brief(outcome), 'proven', outcome.message);
    assert.equal(outcome.message, 'a sandbox of handler "runsc" booted in gVisor in 0.00 s');
    assert.deepEqual(made.containerd.calls, [
      'ListPodSandbox',
      'RunPodSandbox',
      'Tasks.ListPids',
      'PodSandboxStatus',
      'StopPodSandbox',
      'RemovePodSandbox',
    ]);
    assert.equal(made.containerd.sandboxes.byId.size, 0);
    const { request } = requestOf(made, 'RunPodSandbox') ?? {};
    assert.equal(request.runtimeHandler, 'runsc');
    assert.deepEqual(request.config.labels, { ...PROBE_LABELS, [OWNER]: 'me' });
    assert.match(request.config.metadata.uid, /^gvisor-probe-me-[0-9a-f]{8}$/);
    assert.equal(request.config.linux.securityContext.namespaceOptions.network, 'NODE');
  });

  it('tells the time to the answer, and that of the end', async (t) => {
    const made = await scene(t);
    made.containerd.scripts = {
      RunPodSandbox: (request) => {
        made.clock.nowMs += 12_340;
        return made.containerd.usual('RunPodSandbox', request);
      },
      StopPodSandbox: (request) => {
        made.clock.nowMs += 200;
        return made.containerd.usual('StopPodSandbox', request);
      },
    };
    const outcome = await made.run();
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.deepEqual([outcome.bootMs, outcome.teardownMs], [12_340, 200]);
    assert.match(outcome.message, /in 12\.34 s$/);
  });

  it('gives the start no deadline, and every other call one', async (t) => {
    const made = await scene(t);
    await made.run();
    const without = made.containerd.requests.filter(({ deadline }) => !deadline);
    assert.deepEqual(
      without.map(({ method }) => method),
      ['RunPodSandbox'],
    );
    assert.deepEqual(made.containerd.cancelled, []);
  });

  it('names a new sandbox each time', async (t) => {
    const { containerd, run } = await scene(t);
    await run();
    await run();
    const names = containerd.requests.flatMap(({ method, request }) =>
      method === 'RunPodSandbox' ? [request.config.metadata.name] : [],
    );
    assert.equal(new Set(names).size, 2);
  });

  it('boots in a place of its own beside the classes of pods', async (t) => {
    const made = await scene(t);
    made.containerd.sandboxes.add('pod', POD, {
      config: { linux: { cgroupParent: '/kubepods/burstable/pod2' } },
    });
    const outcome = await made.run();
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.equal(
      requestOf(made, 'RunPodSandbox')?.request.config.linux.cgroupParent,
      '/kubepods/gvisor_ready',
    );
    assert.equal(outcome.witness.cgroupParent, '/kubepods/gvisor_ready');
    assert.deepEqual(outcome.witness.cgroups, ['/kubepods/gvisor_ready/sandbox-1']);
    assert.deepEqual([...made.containerd.sandboxes.byId.keys()], ['pod']);
  });

  it('reads of processes the sandbox and its shim, however many there are', async (t) => {
    const made = await scene(t);
    const asked = askedPaths(t, made.host);
    assert.equal(brief(await made.run()), 'proven');
    const processes = processesAmong(asked);
    assert.ok(processes.length > 0 && processes.length <= 2 && processes[0] !== '/proc', processes.join(' '));
  });

  it('tries again when the kubelet was quicker', async (t) => {
    const made = await scene(t);
    made.containerd.scripts = { PodSandboxStatus: mortal(made, (nth) => nth === 0) };
    assert.equal(brief(await made.run()), 'proven');
    assert.deepEqual([made.containerd.count('RunPodSandbox'), made.containerd.sandboxes.mostProbes], [2, 1]);
  });

  it('calls two deaths that one look of the kubelet cannot explain what they are', async (t) => {
    const made = await scene(t);
    made.containerd.scripts = {
      PodSandboxStatus: mortal(made, () => true),
      RunPodSandbox: (request) => {
        made.clock.nowMs += 800;
        return made.containerd.usual('RunPodSandbox', request);
      },
    };
    const outcome = await made.run();
    assert.equal(brief(outcome), 'failed SandboxDied');
    assert.match(outcome.message, /^2 sandboxes in a row died by themselves within 1600 ms: /);
    assert.equal(made.containerd.count('RunPodSandbox'), 2);
  });

  for (const [busy, expected] of [
    [true, 'interrupted ProbeInterrupted'],
    [false, 'failed SandboxDied'],
  ] as const)
    it(`calls five ends that are further apart ${expected} ${busy ? 'under pressure' : 'on an idle node'}`, async (t) => {
      const made = await proverScene(t);
      made.press(busy);
      made.containerd.scripts = {
        PodSandboxStatus: mortal(made, () => true),
        RunPodSandbox: (request) => {
          made.clock.nowMs += 3_000;
          return made.containerd.usual('RunPodSandbox', request);
        },
      };
      assert.equal(brief(await made.run()), expected);
      assert.deepEqual([made.containerd.count('RunPodSandbox'), made.containerd.sandboxes.byId.size], [5, 0]);
    });

  it('tries again where its process has gone, and the shim tells no state while it deletes', async (t) => {
    const made = await scene(t);
    const asked = new Map<string, number>();
    made.containerd.scripts = {
      PodSandboxStatus: (request) => {
        const id: string = request.podSandboxId;
        asked.set(id, (asked.get(id) ?? 0) + 1);
        const { pid } = made.containerd.sandboxes.byId.get(id) ?? { pid: 0 };
        if (id === 'sandbox-1') vanish(made, pid);
        if (id === 'sandbox-1' && asked.get(id) === 2)
          throw new Refusal('Deadline exceeded', status.DEADLINE_EXCEEDED);
        return made.containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await made.run()), 'proven');
    assert.equal(made.containerd.count('RunPodSandbox'), 2);
  });

  it('takes no late answer for an end where it only could not read /proc', async (t) => {
    const made = await scene(t);
    const refused = t.mock.method(made.host, 'readText', async () => {
      throw new Error('Cannot read host file "/proc": no answer within 5 s');
    });
    made.containerd.scripts = {
      PodSandboxStatus: (request) => {
        if (refused.mock.callCount() > 0) throw new Refusal('Deadline exceeded', status.DEADLINE_EXCEEDED);
        return made.containerd.usual('PodSandboxStatus', request);
      },
    };
    const outcome = await made.run();
    assert.equal(outcome.kind, 'impossible', outcome.message);
    assert.equal(made.containerd.count('RunPodSandbox'), 1);
  });

  it('sees a death in the middle of the questions as well', async (t) => {
    const made = await scene(t);
    let killed = 0;
    made.containerd.scripts = {
      'Tasks.ListPids': (request) => {
        killed += 1;
        if (killed > 1) return made.containerd.usual('Tasks.ListPids', request);
        made.containerd.sandboxes.end(request.containerId);
        throw new Refusal('connecting to control server at PID 7: connection refused');
      },
    };
    assert.equal(brief(await made.run()), 'proven');
    assert.equal(killed, 2);
  });

  it('takes a sandbox without a process for one that was stopped, although containerd hears of it later', async (t) => {
    const { containerd, run } = await scene(t);
    let asked = 0;
    const stopped = 'sandbox-1';
    containerd.scripts = {
      'Tasks.ListPids': (request) =>
        request.containerId === stopped ? { processes: [] } : containerd.usual('Tasks.ListPids', request),
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === stopped) asked += 1;
        if (asked === 3) containerd.sandboxes.end(stopped);
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await run()), 'proven');
    assert.deepEqual([asked, containerd.count('RunPodSandbox')], [3, 2]);
  });

  it('is impossible when the runtime tells of no process in a sandbox that runs on', async (t) => {
    const { run, clock } = await scene(t, { 'Tasks.ListPids': () => ({ processes: [] }) });
    clock.stepMs = 1_000;
    assert.equal(brief(await run()), 'impossible CheckFailed');
  });

  it('is impossible when the runtime does not tell of sandboxes that run, asked again for five', async (t) => {
    const { containerd, run, clock } = await scene(t, { 'Tasks.ListPids': refuses('no such task') });
    clock.stepMs = 1_000;
    const outcome = await run();
    assert.equal(brief(outcome), 'impossible CheckFailed');
    assert.equal(outcome.message, 'no such task');
    assert.deepEqual([containerd.count('RunPodSandbox'), containerd.sandboxes.byId.size], [5, 0]);
  });

  it('says nothing against a busy node whose containerd hears late of ends', async (t) => {
    const { containerd, run, clock, press } = await proverScene(t, {
      'Tasks.ListPids': refuses('no such task'),
    });
    clock.stepMs = 1_000;
    press(true);
    assert.equal(brief(await run()), 'impossible ProbeInterrupted');
    containerd.scripts = { 'Tasks.ListPids': () => ({ processes: [] }) };
    assert.equal(brief(await run()), 'impossible ProbeInterrupted');
    // A late answer, and a /proc that is not this node's, are what they are.
    containerd.scripts = { 'Tasks.ListPids': refuses('Deadline exceeded', status.DEADLINE_EXCEEDED) };
    assert.equal(brief(await run()), 'impossible CheckTimedOut');
  });

  it("takes for the kubelet's the ends of sandboxes that ran on while /proc hid them", async (t) => {
    const made = await scene(t);
    const asked = new Map<string, number>();
    made.containerd.scripts = {
      RunPodSandbox: (request) => {
        made.clock.nowMs += 300;
        return made.containerd.usual('RunPodSandbox', request);
      },
      PodSandboxStatus: (request) => {
        const id: string = request.podSandboxId;
        const times = (asked.get(id) ?? 0) + 1;
        asked.set(id, times);
        vanish(made, made.containerd.sandboxes.byId.get(id)?.pid ?? 0);
        if (times > 1) made.clock.nowMs += 500;
        // The kubelet's moments are 2 s apart, and the first comes at once.
        if (times === (id === 'sandbox-1' ? 2 : 5)) made.containerd.sandboxes.end(id);
        return made.containerd.usual('PodSandboxStatus', request);
      },
    };
    const outcome = await made.run();
    assert.equal(brief(outcome), 'interrupted ProbeInterrupted', outcome.message);
    assert.match(outcome.message, /hidepid/);
  });

  it('asks for no end where it could not read what is in /proc, though the kubelet ends it', async (t) => {
    const made = await scene(t);
    t.mock.method(made.host, 'readText', async () => {
      throw new Error('EACCES: permission denied');
    });
    made.containerd.scripts = {
      StopPodSandbox: (request) => {
        made.containerd.sandboxes.end(request.podSandboxId);
        return made.containerd.usual('StopPodSandbox', request);
      },
    };
    assert.equal((await made.run()).kind, 'impossible');
    assert.equal(made.containerd.count('RunPodSandbox'), 1);
    assert.equal(made.containerd.count('PodSandboxStatus'), 1);
  });

  it('leaves two at most where sandboxes can be neither looked at nor removed', async (t) => {
    const scripts = { 'Tasks.ListPids': refuses('no such task'), RemovePodSandbox: refuses('busy') };
    const { containerd, run } = await scene(t, scripts);
    assert.equal(brief(await run()), 'impossible CheckFailed');
    assert.deepEqual([containerd.count('RunPodSandbox'), containerd.sandboxes.byId.size], [2, 2]);
  });
});
