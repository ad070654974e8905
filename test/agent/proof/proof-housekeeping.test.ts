import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Housekeeping } from '../../../agent/proof/housekeeping.ts';
import { prove } from '../../../agent/proof/proof.ts';
import type { Leftovers } from '../../../agent/proof/teardown.ts';
import { HANGS, type Script } from './containerd-scripts.ts';
import { GUEST } from './fake-containerd.ts';
import { brief, NEVER, scene } from './scene.ts';

describe('prove, beside a kubelet', { concurrency: true }, () => {
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

  it('lets a kubelet that it has not met stop an empty sandbox first, once for each', async (t) => {
    const { containerd, options } = await scene(t);
    const housekeeping = new Housekeeping(() => 5_000);
    const comm = (pid: number) => join(options.host.root, `proc/${pid}/comm`);
    const startKubelet = async (pid: number) => {
      await mkdir(join(comm(pid), '..'));
      await writeFile(comm(pid), 'kubelet\n');
    };
    containerd.scripts = {
      PodSandboxStatus: (request) => {
        const sandbox = containerd.sandboxes.get(request.podSandboxId);
        if (sandbox?.config.hostname === '') sandbox.state = 'SANDBOX_NOTREADY';
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    /** The handlers of the sandboxes that one more proof starts, "" for the default runtime's. */
    const proofStarts = async (): Promise<string[]> => {
      const from = containerd.requests.length;
      assert.equal(brief(await prove({ ...options, housekeeping }, NEVER)), 'proven 4.4.0');
      return containerd.requests
        .slice(from)
        .flatMap(({ method, request }) => (method === 'RunPodSandbox' ? [request.runtimeHandler] : []));
    };
    assert.deepEqual(await proofStarts(), ['runsc'], 'no kubelet, nothing to learn');
    await startKubelet(42);
    assert.deepEqual(await proofStarts(), ['', 'runsc']);
    assert.equal(housekeeping.waitMs, 150);
    assert.deepEqual(await proofStarts(), ['runsc']);
    await rm(join(comm(42), '..'), { recursive: true });
    await startKubelet(43);
    assert.deepEqual(
      await proofStarts(),
      ['', 'runsc'],
      'a kubelet that was restarted looks at other moments',
    );
    assert.equal(containerd.sandboxes.size, 0);
  });

  /** A clock that stands still but for what a boot is said to take, and a kubelet that looked at 10 s. */
  const beside = (bootMs: number) => {
    let nowMs = 10_250;
    const housekeeping = new Housekeeping(() => nowMs);
    housekeeping.learningOf('');
    housekeeping.noticed(250);
    const boots: Script = () => {
      nowMs += bootMs;
      return { stdout: Buffer.from(GUEST) };
    };
    return { now: () => nowMs, housekeeping, boots, rest: (ms: number) => (nowMs += ms) };
  };

  it('is interrupted, not stuck, when the kubelet looked while the sandbox booted that does not go away', async (t) => {
    const { boots, rest, ...clock } = beside(1_600);
    const leftovers: Leftovers = new Map();
    const { containerd, run } = await scene(
      t,
      { ExecSync: boots },
      { ...clock, leftovers, teardownTimeoutMs: 200 },
    );
    let stuck = 1;
    containerd.scripts = {
      ExecSync: boots,
      StopPodSandbox: (request) => {
        if (request.podSandboxId !== 'sandbox-1') return containerd.usual('StopPodSandbox', request);
        rest(stuck-- > 0 ? 400 : 0); // the next attempt starts 0.25 s after the look after that
        return HANGS(request);
      },
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.deepEqual([...leftovers], [['sandbox-1', 'left']]);
    assert.deepEqual([...containerd.sandboxes.keys()], ['sandbox-1']);
  });

  it('is stuck when the kubelet did not look meanwhile', async (t) => {
    const { boots, rest: _, ...clock } = beside(500);
    const leftovers: Leftovers = new Map();
    const scripts = { ExecSync: boots, StopPodSandbox: HANGS };
    const { run } = await scene(t, scripts, { ...clock, leftovers, teardownTimeoutMs: 200 });
    assert.equal(brief(await run()), 'stuck SandboxStuck');
    assert.deepEqual([...leftovers], [['sandbox-1', 'stuck']]);
  });
});
