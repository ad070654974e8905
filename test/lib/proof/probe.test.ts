import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CriClient } from '../../../lib/containerd/client.ts';
import { runProbe } from '../../../lib/proof/probe.ts';
import { OWNER, PROBE_LABELS } from '../../../lib/proof/sandbox.ts';
import { removeProcess, sandboxArgv } from '../host/fake-process.ts';
import { processesAmong, recordPaths } from '../host/recorded-paths.ts';
import { GARBAGE, HANGS, Refusal, refuses, type Script } from './containerd-scripts.ts';
import { brief, POD_LABELS, type Scene, scene } from './scene.ts';

const TIMES_OUT = refuses('no answer within 3 s', status.DEADLINE_EXCEEDED);
const UNREACHABLE = 'inconclusive ContainerdUnreachable';
const NO_PROCESS: Script = () => ({ processes: [] });
const NO_SANDBOX_API = refuses(
  'failed to create sandbox "1f": failed to create sandbox 1f: service containerd.runtime.sandbox.v1.Sandbox',
  status.UNIMPLEMENTED,
);
/** A shim's own status without details, as containerd 2.4 passes it on. */
const SHIMS_OWN: Script = () => ({
  status: { state: 'SANDBOX_READY' },
  info: { info: '{"pid":0,"config":null}' },
});

const requestOf = ({ containerd }: Scene, method: string) =>
  containerd.requests.find((each) => each.method === method)?.request;

const starts = ({ containerd }: Scene) => containerd.count('RunPodSandbox');

/** Responds to the first call of a method by this script, and to the others as usual. */
const atFirst = ({ containerd }: Scene, method: string, script: Script) => ({
  [method]: ((request) =>
    containerd.count(method) === 1 ? script(request) : containerd.usual(method, request)) satisfies Script,
});

/** Ends sandboxes at the first request for their status. */
function endsWhen({ containerd }: Scene, ends: (nth: number) => boolean): Script {
  const requested = new Set<string>();
  return (request) => {
    const id: string = request.podSandboxId;
    if (!requested.has(id) && ends(requested.size)) containerd.sandboxes.end(id);
    requested.add(id);
    return containerd.usual('PodSandboxStatus', request);
  };
}

describe('runProbe', { concurrency: true }, () => {
  it('starts one sandbox, examines it from the host and by its runtime, and removes it', async (t) => {
    const setup = await scene(t);
    const outcome = await setup.run();
    assert.equal(brief(outcome), 'proven', outcome.message);
    assert.equal(outcome.message, 'a sandbox of handler "runsc" booted in gVisor in 0.00 s');
    assert.deepEqual(setup.containerd.calls, [
      'ListPodSandbox',
      'Version',
      'Status',
      'RuntimeConfig',
      'RunPodSandbox',
      'Tasks.ListPids',
      'PodSandboxStatus',
      'StopPodSandbox',
      'RemovePodSandbox',
    ]);
    assert.equal(setup.containerd.sandboxes.byId.size, 0);
    const { runtimeHandler, config } = requestOf(setup, 'RunPodSandbox');
    assert.equal(runtimeHandler, 'runsc');
    assert.deepEqual(config.labels, { ...PROBE_LABELS, [OWNER]: 'me' });
    assert.match(config.metadata.uid, /^gvisor-probe-me-[0-9a-f]{8}$/);
    await setup.run();
    const next = setup.containerd.requests.findLast(({ method }) => method === 'RunPodSandbox');
    assert.notEqual(next?.request.config.metadata.name, config.metadata.name);
    assert.equal(config.linux.securityContext.namespaceOptions.network, 'NODE');
  });

  it('measures the start and the teardown', async (t) => {
    const setup = await scene(t);
    setup.containerd.scripts = {
      ...setup.takes('RunPodSandbox', 12_340),
      ...setup.takes('StopPodSandbox', 200),
    };
    const outcome = await setup.run();
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.deepEqual([outcome.bootMs, outcome.teardownMs], [12_340, 200]);
    assert.match(outcome.message, /in 12\.34 s$/);
  });

  it('sets a deadline on every call but the start', async (t) => {
    const setup = await scene(t);
    await setup.run();
    const without = setup.containerd.requests.filter(({ deadline }) => !deadline);
    const methods = without.map(({ method }) => method);
    assert.deepEqual(methods, ['RunPodSandbox']);
    assert.deepEqual(setup.containerd.cancelled, []);
  });

  it("uses its own cgroup beside the pods' classes", async (t) => {
    const setup = await scene(t);
    setup.containerd.sandboxes.add('pod', POD_LABELS, {
      config: { linux: { cgroupParent: '/kubepods/burstable/pod2' } },
    });
    const outcome = await setup.run();
    assert.ok(outcome.kind === 'proven', outcome.message);
    assert.equal(requestOf(setup, 'RunPodSandbox').config.linux.cgroupParent, '/kubepods/gvisor_ready');
    assert.equal(outcome.witness.cgroupParent, '/kubepods/gvisor_ready');
    assert.deepEqual(outcome.witness.cgroups, ['/kubepods/gvisor_ready/sandbox-1']);
    assert.deepEqual([...setup.containerd.sandboxes.byId.keys()], ['pod']);
  });

  it('reads only the processes of the sandbox and its shim', async (t) => {
    const setup = await scene(t);
    const paths = recordPaths(t, setup.host);
    assert.equal(brief(await setup.run()), 'proven');
    const processes = processesAmong(paths);
    assert.ok(processes.length > 0 && processes.length <= 2 && processes[0] !== '/proc', processes.join(' '));
  });

  const GUESTS = [
    ['runc', ['/pause'], (pid: number) => [pid], 'failed GuestIsHostKernel'],
    ['runc in disguise', sandboxArgv('sandbox-1'), (pid: number) => [pid], 'failed GuestIsHostKernel'],
    ['Kata', ['/opt/kata/qemu', 'sandbox-1'], () => [1], 'failed GuestNotGVisor'],
    ['a foreign process', ['/bin/x'], () => [1], 'inconclusive CheckFailed'],
  ] as const;
  for (const [name, argv, runtimePids, expected] of GUESTS)
    it(`is ${expected} with ${name}`, async (t) => {
      const { containerd, run, clock } = await scene(t);
      clock.stepMs = 1_000;
      const cgroup = (id: string) => (name === 'runc' ? `0::/kubepods/${id}\n` : '0::/\n');
      containerd.sandboxes.process = (id) => ({ argv, cgroup: cgroup(id) });
      containerd.sandboxes.runtimePids = runtimePids;
      assert.equal(brief(await run()), expected);
      assert.equal(containerd.sandboxes.byId.size, 0);
    });
});

describe('runProbe, when a call fails', { concurrency: true }, () => {
  const gone = refuses('not found', status.NOT_FOUND);
  const refused = refuses('no such task');
  let isAsked = false;
  const shutsDown = {
    RunPodSandbox: refuses('OCI runtime create failed: signal: killed'),
    Version: () => {
      if (isAsked) throw new Refusal('shutting down', status.UNAVAILABLE);
      isAsked = true;
      return { runtimeName: 'containerd', runtimeVersion: 'v2.4.2' };
    },
  };
  const staysBusy = { 'Tasks.ListPids': refused, RemovePodSandbox: refuses('busy') };
  const silent = { StopPodSandbox: TIMES_OUT, 'Tasks.ListPids': TIMES_OUT };
  const absent = { StopPodSandbox: gone, RemovePodSandbox: gone };
  const shimsOwn = { PodSandboxStatus: SHIMS_OWN };
  type Scripts = Readonly<Record<string, Script>>;
  type Row = readonly [what: string, Scripts, expected: string, attempts: number, remaining: number];
  const TABLE: readonly Row[] = [
    ['the start is refused', { RunPodSandbox: refuses('something else') }, 'failed SandboxFailed', 1, 0],
    ['the shim has no Sandbox API', { RunPodSandbox: NO_SANDBOX_API }, 'failed SandboxerUnsupported', 1, 0],
    [
      'the start finds something absent',
      { RunPodSandbox: refuses('not found', status.NOT_FOUND) },
      'failed SandboxFailed',
      1,
      0,
    ],
    ['the start times out', { RunPodSandbox: refuses('got timeout') }, 'inconclusive CheckTimedOut', 1, 0],
    ['the start is refused by a containerd that shuts down', shutsDown, UNREACHABLE, 1, 0],
    ['the start responds with garbage', { RunPodSandbox: GARBAGE }, UNREACHABLE, 1, 0],
    ['the status responds with garbage', { PodSandboxStatus: GARBAGE }, UNREACHABLE, 5, 0],
    ['the PIDs respond with garbage', { 'Tasks.ListPids': GARBAGE }, UNREACHABLE, 5, 0],
    ['the runtime reports no process', { 'Tasks.ListPids': NO_PROCESS }, 'inconclusive CheckFailed', 1, 0],
    ['the runtime refuses', { 'Tasks.ListPids': refused }, 'inconclusive CheckFailed', 5, 0],
    ['the runtime refuses and the sandbox stays', staysBusy, 'inconclusive CheckFailed', 2, 2],
    ['the sandbox is gone at its stop', absent, 'proven', 1, 1],
    ['the stopped sandbox cannot be removed', { RemovePodSandbox: refuses('busy') }, 'proven', 1, 1],
    ["a shim's own status tells no process", shimsOwn, 'failed SandboxerUnsupported', 1, 0],
    ['the stop times out', { StopPodSandbox: TIMES_OUT }, 'stuck SandboxStuck', 1, 1],
    ['neither PIDs nor stop respond', silent, 'stuck SandboxStuck', 1, 1],
  ];
  for (const [what, scripts, expected, attempts, remaining] of TABLE)
    it(`is ${expected} after ${attempts} attempts if ${what}`, async (t) => {
      const setup = await scene(t, scripts);
      setup.clock.stepMs = 1_000;
      assert.equal(brief(await setup.run()), expected);
      assert.deepEqual([starts(setup), setup.containerd.sandboxes.byId.size], [attempts, remaining]);
    });
});

describe('runProbe, when the sandbox ends early', { concurrency: true }, () => {
  it('retries once the kubelet has stopped a sandbox', async (t) => {
    const setup = await scene(t);
    setup.containerd.scripts = { PodSandboxStatus: endsWhen(setup, (nth) => nth === 0) };
    assert.equal(brief(await setup.run()), 'proven');
    assert.deepEqual([starts(setup), setup.containerd.sandboxes.maxProbes], [2, 1]);
  });

  it('is SandboxDied after two ends within one period of the kubelet', async (t) => {
    const setup = await scene(t);
    setup.containerd.scripts = {
      PodSandboxStatus: endsWhen(setup, () => true),
      ...setup.takes('RunPodSandbox', 800),
    };
    const outcome = await setup.run();
    assert.equal(brief(outcome), 'failed SandboxDied');
    assert.match(outcome.message, /^2 sandboxes in a row died by themselves within 1600 ms: /);
    assert.equal(starts(setup), 2);
  });

  for (const [busy, expected] of [
    [true, 'interrupted ProbeInterrupted'],
    [false, 'failed SandboxDied'],
  ] as const)
    it(`is ${expected} after five slow ends ${busy ? 'under pressure' : 'on an idle node'}`, async (t) => {
      const setup = await scene(t);
      setup.setBusy(busy);
      setup.containerd.scripts = {
        PodSandboxStatus: endsWhen(setup, () => true),
        ...setup.takes('RunPodSandbox', 3_000),
      };
      assert.equal(brief(await setup.run()), expected);
      assert.deepEqual([starts(setup), setup.containerd.sandboxes.byId.size], [5, 0]);
    });

  it('retries if the process is gone and the status times out, as it does while the shim deletes', async (t) => {
    const setup = await scene(t);
    let requests = 0;
    setup.containerd.scripts = {
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'sandbox-1') {
          removeProcess(setup.host.root, setup.containerd.sandboxes.byId.get('sandbox-1')?.pid ?? 0);
          requests += 1;
          if (requests === 2) return TIMES_OUT(request);
        }
        return setup.containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await setup.run()), 'proven');
    assert.equal(starts(setup), 2);
  });

  it('retries if the sandbox ends between the two requests for it', async (t) => {
    const setup = await scene(t);
    setup.containerd.scripts = atFirst(setup, 'Tasks.ListPids', ({ containerId }) => {
      setup.containerd.sandboxes.end(containerId);
      throw new Refusal('connecting to control server at PID 7: connection refused');
    });
    assert.equal(brief(await setup.run()), 'proven');
    assert.equal(setup.containerd.count('Tasks.ListPids'), 2);
  });

  it('waits for containerd to notice the end of an empty sandbox', async (t) => {
    const setup = await scene(t);
    const { containerd, run } = setup;
    let requests = 0;
    containerd.scripts = {
      'Tasks.ListPids': (request) =>
        request.containerId === 'sandbox-1'
          ? NO_PROCESS(request)
          : containerd.usual('Tasks.ListPids', request),
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'sandbox-1') requests += 1;
        if (requests === 3) containerd.sandboxes.end('sandbox-1');
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await run()), 'proven');
    assert.deepEqual([requests, starts(setup)], [3, 2]);
  });

  it('is interrupted, not failed, if /proc hid processes of running sandboxes', async (t) => {
    const setup = await scene(t);
    const requests = new Map<string, number>();
    setup.containerd.scripts = {
      ...setup.takes('RunPodSandbox', 300),
      PodSandboxStatus: (request) => {
        const id: string = request.podSandboxId;
        const nth = (requests.get(id) ?? 0) + 1;
        requests.set(id, nth);
        removeProcess(setup.host.root, setup.containerd.sandboxes.byId.get(id)?.pid ?? 0);
        if (nth > 1) setup.clock.nowMs += 500;
        // The kubelet stops the first at once and the others 2 s apart.
        if (nth === (id === 'sandbox-1' ? 2 : 5)) setup.containerd.sandboxes.end(id);
        return setup.containerd.usual('PodSandboxStatus', request);
      },
    };
    const outcome = await setup.run();
    assert.equal(brief(outcome), 'interrupted ProbeInterrupted', outcome.message);
    assert.match(outcome.message, /hidepid/);
  });
});

describe('runProbe, when a running sandbox cannot be examined', { concurrency: true }, () => {
  for (const [what, listPids, expected] of [
    ['the runtime refuses', refuses('no such task'), 'inconclusive ProbeInterrupted'],
    ['the runtime reports no process', NO_PROCESS, 'inconclusive ProbeInterrupted'],
    ['the runtime times out', TIMES_OUT, 'inconclusive CheckTimedOut'],
  ] as const)
    it(`is ${expected} on a busy node if ${what}`, async (t) => {
      const { run, clock, setBusy } = await scene(t, { 'Tasks.ListPids': listPids });
      clock.stepMs = 1_000;
      setBusy(true);
      assert.equal(brief(await run()), expected);
    });

  it('does not treat an unreadable /proc as the end of the sandbox', async (t) => {
    const setup = await scene(t);
    const read = t.mock.method(setup.host, 'readText', async () => {
      throw new Error('Cannot read host file "/proc": no answer within 5 s');
    });
    setup.containerd.scripts = {
      PodSandboxStatus: (request) =>
        read.mock.callCount() > 0 ? TIMES_OUT(request) : setup.containerd.usual('PodSandboxStatus', request),
      StopPodSandbox: (request) => {
        setup.containerd.sandboxes.end(request.podSandboxId);
        return setup.containerd.usual('StopPodSandbox', request);
      },
    };
    assert.equal((await setup.run()).kind, 'inconclusive');
    assert.deepEqual([starts(setup), setup.containerd.count('PodSandboxStatus')], [1, 1]);
  });

  it('does not treat a timeout as the end while the process exists', async (t) => {
    const setup = await scene(t);
    const { containerd } = setup;
    containerd.scripts = {
      'Tasks.ListPids': refuses('no such task'),
      PodSandboxStatus: (request) =>
        containerd.count('PodSandboxStatus') % 2 === 0
          ? TIMES_OUT(request)
          : containerd.usual('PodSandboxStatus', request),
    };
    assert.equal(brief(await setup.run()), 'inconclusive CheckFailed');
  });
});

describe('runProbe, when the sandbox does not stop', { concurrency: true }, () => {
  it('retries a stop that collides with the kubelet', async (t) => {
    const setup = await scene(t);
    const collides = refuses('failed to stop sandbox "sandbox-1": task must be stopped');
    setup.containerd.scripts = atFirst(setup, 'StopPodSandbox', collides);
    assert.equal(brief(await setup.run()), 'proven');
    assert.equal(setup.containerd.count('StopPodSandbox'), 2);
  });

  it('stops five times with pauses before it is stuck', async (t) => {
    const { containerd, run, pauses } = await scene(t, { StopPodSandbox: refuses('task must be stopped') });
    assert.equal(brief(await run()), 'stuck SandboxStuck');
    assert.deepEqual([containerd.count('StopPodSandbox'), pauses], [5, [100, 400, 1_500, 4_000]]);
  });

  it('is proven if the stop times out but the sandbox has ended', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.scripts = {
      StopPodSandbox: (request) => {
        containerd.usual('StopPodSandbox', request);
        return TIMES_OUT(request);
      },
    };
    assert.equal(brief(await run()), 'proven');
    assert.equal(containerd.count('StopPodSandbox'), 1);
  });
});

describe('runProbe, when containerd breaks', { concurrency: true }, () => {
  for (const method of ['RunPodSandbox', 'PodSandboxStatus', 'Tasks.ListPids', 'StopPodSandbox'])
    it(`is inconclusive if containerd exits in ${method}`, async (t) => {
      const { containerd, run, clock } = await scene(t);
      clock.stepMs = 1_000;
      containerd.scripts = {
        [method]: async (request) => {
          await containerd.stop();
          return HANGS(request);
        },
      };
      assert.equal(brief(await run()), UNREACHABLE);
    });

  it('names a socket that does not exist', async (t) => {
    const { options, host } = await scene(t);
    const path = join(host.root, 'absent.sock');
    const client = new CriClient('/run/containerd/containerd.sock', path);
    t.after(() => client.close());
    const outcome = await runProbe({ ...options, client });
    assert.equal(brief(outcome), UNREACHABLE);
    assert.equal(outcome.message, `containerd's ListPodSandbox: connect ENOENT ${path}`);
  });
});
