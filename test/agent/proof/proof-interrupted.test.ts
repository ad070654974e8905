import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { PROBE_LABELS } from '../../../agent/proof/sandbox-config.ts';
import { HANGS, refuses } from './containerd-scripts.ts';
import { brief, scene } from './scene.ts';

describe('prove, beside others', { concurrency: true }, () => {
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
});
