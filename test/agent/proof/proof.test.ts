import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CriClient } from '../../../agent/host/cri-client.ts';
import { Housekeeping } from '../../../agent/proof/housekeeping.ts';
import type { Outcome } from '../../../agent/proof/outcome.ts';
import { type ProofOptions, prove } from '../../../agent/proof/proof.ts';
import { PROBE_LABELS } from '../../../agent/proof/sandbox-config.ts';
import { tempHost } from '../host/temp-host.ts';
import {
  ALL_HANG,
  type FakeContainerd,
  fakeContainerd,
  GARBAGE,
  GUEST,
  HANGS,
  refuses,
  type Script,
} from './fake-containerd.ts';

const HOST_FILES = {
  '/proc/version': 'Linux version 6.8.0 (buildd@lcy02) #45-Ubuntu SMP\n',
  '/proc/sys/kernel/random/boot_id': '6d0aa4a7-5e1a-4e7a-9f0f-1d6a0d6f2b11\n',
};
const NEVER = new AbortController().signal;

type Scene = {
  readonly containerd: FakeContainerd;
  readonly client: CriClient;
  readonly options: ProofOptions;
  readonly run: (signal?: AbortSignal) => Promise<Outcome>;
};

async function scene(
  context: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
  { answerMs, ...changes }: Partial<ProofOptions> & { readonly answerMs?: number } = {},
): Promise<Scene> {
  const { containerd, client } = await fakeContainerd(context, scripts, answerMs);
  const host = await tempHost(context, HOST_FILES);
  const options = {
    client,
    handler: 'runsc',
    image: 'agent',
    host,
    now: () => performance.now(),
    bootTimeoutMs: 10_000,
    teardownTimeoutMs: 10_000,
    ...changes,
  };
  return { containerd, client, options, run: (signal = NEVER) => prove(options, signal) };
}

const brief = (outcome: Outcome) =>
  outcome.kind === 'proven' ? `proven ${outcome.guestKernel}` : `${outcome.kind} ${outcome.reason}`;

describe('prove', { concurrency: true }, () => {
  it('boots one sandbox of the handler, reads its kernel, and removes it', async (t) => {
    const { containerd, run } = await scene(t);
    const outcome = await run();
    assert.equal(brief(outcome), 'proven 4.4.0');
    assert.ok(outcome.kind === 'proven' && outcome.bootMs > 0 && outcome.teardownMs > 0);
    assert.deepEqual(
      containerd.calls.filter((method) => /Sandbox|Container$|Exec/.test(method)),
      [
        'ListPodSandbox',
        'ListPodSandbox',
        'RunPodSandbox',
        'CreateContainer',
        'StartContainer',
        'ExecSync',
        'StopPodSandbox',
        'RemovePodSandbox',
      ],
    );
    assert.equal(containerd.sandboxes.size, 0);
    const request = containerd.requests.find(({ method }) => method === 'RunPodSandbox')?.request;
    assert.equal(request.runtimeHandler, 'runsc');
    assert.deepEqual(request.config.labels, PROBE_LABELS);
    const created = containerd.requests.find(({ method }) => method === 'CreateContainer')?.request;
    assert.equal(created.config.logPath, 'probe.log');
    assert.match(created.sandboxConfig.logDirectory, /^\/run\/containerd\/[^/]+\/sandboxes\/sandbox-1$/);
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

  it('shares the cgroup of the kubelet’s pods, and asks the next pod when one is gone meanwhile', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.add('other', {}, { linux: { cgroupParent: '/system.slice/podx' } });
    containerd.add('gone', { 'io.kubernetes.pod.uid': '1' });
    containerd.add(
      'pod',
      { 'io.kubernetes.pod.uid': '2' },
      { linux: { cgroupParent: '/kubepods/burstable/pod2' } },
    );
    containerd.scripts = {
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'gone') containerd.sandboxes.delete('gone');
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
    const request = containerd.requests.find(({ method }) => method === 'RunPodSandbox')?.request;
    assert.equal(request.config.linux.cgroupParent, '/kubepods/burstable');
    assert.deepEqual([...containerd.sandboxes.keys()], ['other', 'pod']);
  });

  it('uses the image of the agent’s own container when none is named', async (t) => {
    const scripts = { ListContainers: () => ({ containers: [{ id: 'c', imageRef: 'sha256:own' }] }) };
    const { containerd, run } = await scene(t, scripts, { image: undefined });
    assert.equal(brief(await run()), 'proven 4.4.0');
    const request = containerd.requests.find(({ method }) => method === 'CreateContainer')?.request;
    assert.deepEqual([request.config.image.image, request.config.command], ['sha256:own', ['sleep', '60']]);
  });

  it('is impossible when no image has programs and the host lends none', async (t) => {
    const { containerd, run } = await scene(t, {}, { image: undefined });
    assert.equal(brief(await run()), 'impossible ProbeImageMissing');
    assert.ok(!containerd.calls.includes('RunPodSandbox'));
  });

  const errors: readonly [string, string][] = [
    [
      'unable to get OCI runtime for sandbox "1": no runtime for "runsc" is configured',
      'failed HandlerNotLoaded',
    ],
    [
      'failed to start sandbox "1": failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist: unknown',
      'failed ShimNotFound',
    ],
    [
      'failed to create containerd task: decode config file "/etc/x": open /etc/x',
      'failed RunscConfigInvalid',
    ],
    ['OCI runtime create failed: exec: "runsc": executable file not found in $PATH', 'failed RunscNotFound'],
    ['cannot read client sync file: waiting for sandbox to start: EOF', 'failed SandboxFailed'],
    ['failed to get sandbox image "pause:3.10": failed to pull image', 'impossible ProbeImageMissing'],
  ];
  for (const [words, expected] of errors) {
    it(`${expected} when RunPodSandbox says: ${words.slice(0, 60)}`, async (t) => {
      const { run } = await scene(t, { RunPodSandbox: refuses(words) });
      const outcome = await run();
      assert.deepEqual([brief(outcome), outcome.message], [expected, words]);
    });
  }

  it('is impossible when the container’s image is missing, and removes the sandbox', async (t) => {
    const words = 'failed to resolve image "agent": not found';
    const { containerd, run } = await scene(t, { CreateContainer: refuses(words, status.NOT_FOUND) });
    assert.equal(brief(await run()), 'impossible ProbeImageMissing');
    assert.equal(containerd.sandboxes.size, 0);
  });

  it('tries again when somebody else stopped the sandbox', async (t) => {
    const { containerd, run } = await scene(t);
    let killed = 0;
    containerd.scripts = {
      ExecSync: (request) => {
        if (killed === 2) return containerd.usual('ExecSync', request);
        killed += 1;
        for (const sandbox of containerd.sandboxes.values()) sandbox.state = 'SANDBOX_NOTREADY';
        throw new Error('connecting to control server at PID 7: connection refused');
      },
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.equal(killed, 2);
    assert.equal(containerd.mostProbes, 1);
  });

  it('is interrupted when that happens three times', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.scripts = {
      ExecSync: () => {
        containerd.sandboxes.clear();
        throw new Error('read init-p: connection reset by peer');
      },
    };
    assert.equal(brief(await run()), 'interrupted ProbeInterrupted');
    assert.equal(containerd.calls.filter((method) => method === 'RunPodSandbox').length, 3);
  });

  it('does not wait for the answer of a sandbox that was stopped', async (t) => {
    const { containerd, run } = await scene(t);
    let killed = false;
    containerd.scripts = {
      ExecSync: (request) => {
        if (killed) return containerd.usual('ExecSync', request);
        killed = true;
        containerd.sandboxes.clear();
        return HANGS(request);
      },
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('is interrupted when containerd gives the call up', async (t) => {
    const { run } = await scene(t, { RunPodSandbox: refuses('context canceled', status.CANCELLED) });
    assert.equal(brief(await run()), 'interrupted ProbeInterrupted');
  });

  it('needs no removal of what is gone already', async (t) => {
    const gone = refuses('not found', status.NOT_FOUND);
    const { run } = await scene(t, { StopPodSandbox: gone, RemovePodSandbox: gone });
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('sweeps what its predecessor left, and nothing else', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.add('left-1', PROBE_LABELS);
    containerd.add('left-2', PROBE_LABELS);
    containerd.add('pod', { 'app.kubernetes.io/managed-by': 'Helm' });
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.deepEqual([...containerd.sandboxes.keys()], ['pod']);
    const order = containerd.requests.flatMap(({ method, request }) =>
      /^(Run|Remove)PodSandbox/.test(method) ? [request.podSandboxId || method] : [],
    );
    assert.deepEqual(order, ['left-1', 'left-2', 'RunPodSandbox', 'sandbox-1']);
  });

  it('sees through a handler that gives the host’s kernel', async (t) => {
    const stdout = Buffer.from(Object.values(HOST_FILES).join(''));
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'failed GuestIsHostKernel');
  });

  it('sees through a handler that gives another kernel', async (t) => {
    const stdout = Buffer.from('Linux version 6.12.22 (kata@build) #1 SMP\nb3e0\n');
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'failed GuestNotGVisor');
  });

  it('proves nothing from a probe that prints nothing, nonsense, or 17 MB', async (t) => {
    const printed: readonly [object, string][] = [
      [{ stderr: Buffer.from('cat: cannot open') }, 'failed SandboxFailed'],
      [{ stdout: Buffer.from([0, 255, 10, 13]) }, 'impossible CheckFailed'],
      [{ stdout: Buffer.alloc(15 * 1024 * 1024, 'x') }, 'impossible CheckFailed'],
      [{ stdout: Buffer.alloc(17 * 1024 * 1024, 'x') }, 'failed SandboxFailed'],
    ];
    for (const [answer, expected] of printed) {
      const { containerd, run } = await scene(t, { ExecSync: () => answer });
      assert.equal(brief(await run()), expected);
      assert.equal(containerd.sandboxes.size, 0);
    }
  });

  it('reads only the beginning of a long output', async (t) => {
    const stdout = Buffer.from(GUEST.padEnd(8 * 1024 * 1024, 'x'));
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('is impossible without the host’s own kernel to compare with', async (t) => {
    const { options } = await scene(t);
    const blind = { ...options, host: await tempHost(t) };
    assert.equal(brief(await prove(blind, NEVER)), 'impossible CheckFailed');
  });

  for (const method of ['ListPodSandbox', 'RunPodSandbox', 'ExecSync']) {
    it(`is impossible when ${method} is answered with garbage`, async (t) => {
      const { containerd, run } = await scene(t, { [method]: GARBAGE });
      assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
      assert.equal(containerd.sandboxes.size, 0);
    });
  }

  it('is impossible when containerd dies in the middle, and sweeps once it is back', async (t) => {
    const { containerd, client, run } = await scene(t);
    containerd.scripts = {
      ExecSync: async (request) => {
        await containerd.stop();
        return HANGS(request);
      },
    };
    assert.equal(brief(await run()), 'impossible ContainerdUnreachable');
    assert.equal(containerd.sandboxes.size, 1);
    containerd.scripts = {};
    await containerd.start();
    await reachable(client);
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.deepEqual([containerd.sandboxes.size, containerd.mostProbes], [0, 1]);
  });

  for (const method of ['RunPodSandbox', 'StartContainer', 'ExecSync', 'StopPodSandbox']) {
    it(`leaves nothing behind when it is aborted in ${method}`, async (t) => {
      const { containerd, run } = await scene(t);
      const stop = new AbortController();
      containerd.scripts = {
        [method]: (request) => {
          const answer = containerd.usual(method, request);
          if (stop.signal.aborted) return answer;
          stop.abort();
          return method === 'StopPodSandbox' ? answer : HANGS(request);
        },
      };
      await run(stop.signal).catch((error: unknown) => assert.ok(error instanceof Error));
      assert.ok(stop.signal.aborted);
      assert.equal(containerd.sandboxes.size, 0);
    });
  }

  it('does not begin when it is aborted already', async (t) => {
    const { containerd, run } = await scene(t);
    await assert.rejects(run(AbortSignal.abort(new Error('stop'))), /^Error: stop$/);
    assert.deepEqual(containerd.calls, []);
  });
});

// One after the other, since a busy process would miss their deadlines where it should not.
describe('prove, with deadlines', () => {
  it('fails when no sandbox boots in time and containerd answers', async (t) => {
    const { run } = await scene(t, { RunPodSandbox: HANGS }, { bootTimeoutMs: 500 });
    const outcome = await run();
    assert.equal(brief(outcome), 'failed SandboxFailed');
    assert.match(
      outcome.message,
      /^no sandbox booted within 0.5 s: containerd's RunPodSandbox: no answer within /,
    );
  });

  it('is impossible when no sandbox boots in time and containerd does not answer either', async (t) => {
    const { containerd, run } = await scene(
      t,
      {},
      { bootTimeoutMs: 500, teardownTimeoutMs: 500, answerMs: 500 },
    );
    hangFrom(containerd, 'RunPodSandbox');
    assert.equal(brief(await run()), 'impossible CheckTimedOut');
  });

  for (const method of ['RunPodSandbox', 'StartContainer']) {
    it(`is impossible soon when containerd hangs from ${method} on, long before the boot’s own deadline`, async (t) => {
      const { containerd, run } = await scene(t, {}, { bootTimeoutMs: 600_000, answerMs: 500 });
      containerd.scripts = {
        [method]: (request) => {
          containerd.scripts = ALL_HANG;
          return HANGS(request);
        },
      };
      const outcome = await run();
      assert.equal(brief(outcome), 'impossible CheckTimedOut');
      assert.match(outcome.message, /^containerd's Status: no answer within /);
      containerd.scripts = {};
      assert.equal(brief(await run()), 'proven 4.4.0');
      assert.ok(containerd.mostProbes <= 1 && containerd.sandboxes.size === 0);
    });
  }

  it('removes a sandbox that containerd made after its answer was given up on', async (t) => {
    const { containerd, run } = await scene(t, {}, { bootTimeoutMs: 500 });
    containerd.scripts = {
      RunPodSandbox: (request) => {
        containerd.usual('RunPodSandbox', request);
        return HANGS(request);
      },
    };
    assert.equal(brief(await run()), 'failed SandboxFailed');
    assert.equal(containerd.sandboxes.size, 0);
  });

  it('is stuck when a sandbox runs on, and stays so instead of starting another', async (t) => {
    const { containerd, run } = await scene(t, { StopPodSandbox: HANGS }, { teardownTimeoutMs: 500 });
    for (const _ of [1, 2]) {
      const outcome = await run();
      assert.equal(brief(outcome), 'stuck SandboxStuck');
      assert.match(outcome.message, /StopPodSandbox failed/);
    }
    assert.equal(containerd.mostProbes, 1);
    containerd.scripts = {};
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('suffers a sandbox of an earlier probe that containerd refuses to stop', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.add('ready-for-ever', PROBE_LABELS);
    const refusal = refuses('cannot signal container in state created');
    containerd.scripts = {
      StopPodSandbox: (request) =>
        request.podSandboxId === 'ready-for-ever'
          ? refusal(request)
          : containerd.usual('StopPodSandbox', request),
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('suffers dead sandboxes that do not go away, but not many', async (t) => {
    const { containerd, run } = await scene(t, { RemovePodSandbox: HANGS }, { teardownTimeoutMs: 200 });
    for (const _ of [1, 2, 3, 4, 5]) assert.equal(brief(await run()), 'proven 4.4.0');
    for (const _ of [6, 7]) {
      const outcome = await run();
      assert.equal(brief(outcome), 'impossible ProbesLeft');
      assert.match(
        outcome.message,
        /^containerd cannot remove 5 dead sandboxes of earlier probes: sandbox-1, /,
      );
    }
    assert.equal(containerd.mostProbes, 5);
    containerd.scripts = {};
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.equal(containerd.sandboxes.size, 0);
  });

  it('leaves dead sandboxes to a later sweep when it is in a hurry, unless there are many', async (t) => {
    const { containerd, options, run } = await scene(t);
    const hurried = () => prove({ ...options, hurry: true }, NEVER);
    const addDead = (id: string) => {
      containerd.add(id, PROBE_LABELS);
      Object.assign(containerd.sandboxes.get(id) ?? {}, { state: 'SANDBOX_NOTREADY' });
    };
    containerd.add('ready', PROBE_LABELS);
    addDead('dead-1');
    assert.equal(brief(await hurried()), 'proven 4.4.0');
    assert.deepEqual([...containerd.sandboxes.keys()], ['dead-1']);
    for (const id of ['dead-2', 'dead-3', 'dead-4', 'dead-5']) addDead(id);
    assert.equal(brief(await hurried()), 'proven 4.4.0');
    assert.equal(containerd.sandboxes.size, 0);
    addDead('dead-6');
    await run();
    assert.equal(containerd.sandboxes.size, 0);
  });

  it('starts when the kubelet will not look, once it has stopped a sandbox, unless it is in a hurry', async (t) => {
    const { containerd, options } = await scene(t);
    let stops = 1;
    containerd.scripts = {
      ExecSync: (request) => {
        if (stops === 0) return containerd.usual('ExecSync', request);
        stops -= 1;
        containerd.sandboxes.clear();
        throw new Error('connection refused');
      },
    };
    let nowMs = 10_000;
    const housekeeping = new Housekeeping(() => nowMs);
    const hurried = { ...options, housekeeping, hurry: true };
    assert.equal(brief(await prove(hurried, NEVER)), 'proven 4.4.0');
    nowMs = 11_000;
    assert.equal(brief(await prove(hurried, NEVER)), 'proven 4.4.0');
    const stop = new AbortController();
    const waiting = prove({ ...hurried, hurry: false }, stop.signal);
    await containerd.called('Status');
    stop.abort(new Error('stop'));
    await assert.rejects(waiting);
    assert.equal(containerd.calls.filter((method) => method === 'RunPodSandbox').length, 3);
  });

  it('is impossible, not stuck, when containerd as a whole hangs at teardown', async (t) => {
    const { containerd, run } = await scene(t, {}, { teardownTimeoutMs: 500, answerMs: 500 });
    hangFrom(containerd, 'StopPodSandbox');
    assert.equal(brief(await run()), 'impossible CheckTimedOut');
  });
});

/** Makes the whole of containerd hang from the call of that method on. */
function hangFrom(containerd: FakeContainerd, method: string): void {
  const hang: Script = (request) => {
    containerd.scripts = { [method]: HANGS, Status: HANGS };
    return HANGS(request);
  };
  containerd.scripts = { [method]: hang };
}

/** Resolves when the client has its connection again. */
async function reachable(client: CriClient): Promise<void> {
  for (;;) {
    const changed = client.connectionChange(10_000);
    if (
      await client.call('Version', {}).then(
        () => true,
        () => false,
      )
    )
      return;
    await changed;
  }
}

describe('prove without a containerd', () => {
  async function proofAt(t: TestContext, path: string): Promise<Outcome> {
    const client = new CriClient('/run/containerd/containerd.sock', path);
    t.after(() => client.close());
    const host = await tempHost(t, HOST_FILES);
    return prove({ client, handler: 'runsc', image: 'agent', host, now: () => 0 }, NEVER);
  }

  async function folderOf(t: TestContext): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'cri-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  it('names a socket that is not there', async (t) => {
    const path = join(await folderOf(t), 'absent.sock');
    const outcome = await proofAt(t, path);
    assert.equal(brief(outcome), 'impossible ContainerdUnreachable');
    assert.equal(outcome.message, `containerd's ListPodSandbox: connect ENOENT ${path}`);
  });

  it('names a socket that nobody listens on', async (t) => {
    const path = join(await folderOf(t), 'dead.sock');
    const { containerd } = await fakeContainerd(t);
    await containerd.stop();
    assert.match((await proofAt(t, containerd.socket)).message, /connect ENOENT/);
    assert.equal(brief(await proofAt(t, path)), 'impossible ContainerdUnreachable');
  });

  it('names a socket that it may not open', async (t) => {
    const { containerd } = await fakeContainerd(t);
    await chmod(containerd.socket, 0);
    const root = process.geteuid?.() === 0;
    // root may open any socket, so for a moment this process is nobody.
    if (root) process.seteuid?.(65534);
    try {
      const client = new CriClient('/run/containerd/containerd.sock', containerd.socket);
      t.after(() => client.close());
      const error = await client.call('Version', {}).catch(String);
      assert.match(String(error), /connect EACCES/);
    } finally {
      if (root) process.seteuid?.(0);
    }
  });

  it('is impossible when whatever listens there speaks another language', async (t) => {
    const path = join(await folderOf(t), 'garbage.sock');
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(Buffer.alloc(4096, 0xa5));
    });
    const listening = Promise.withResolvers<void>();
    server.listen(path, listening.resolve);
    await listening.promise;
    t.after(() => server.close());
    assert.equal(brief(await proofAt(t, path)), 'impossible ContainerdUnreachable');
  });
});
