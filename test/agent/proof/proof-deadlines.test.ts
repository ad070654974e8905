import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { prove } from '../../../agent/proof/proof.ts';
import { PROBE_LABELS } from '../../../agent/proof/sandbox-config.ts';
import { ALL_HANG, HANGS, refuses, type Script } from './containerd-scripts.ts';
import type { FakeContainerd } from './fake-containerd.ts';
import { brief, NEVER, scene } from './scene.ts';

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

  it('is impossible when containerd is busy pulling the sandbox’s image, as a pod names it', async (t) => {
    for (const [image, expected] of [
      [null, 'impossible ProbeImageMissing'],
      [{ id: 'sha256:1' }, 'failed SandboxFailed'],
    ] as const) {
      const { containerd, run } = await scene(t, {}, { bootTimeoutMs: 300 });
      containerd.add('pod', { 'io.kubernetes.pod.uid': '1' });
      containerd.scripts = { RunPodSandbox: HANGS, ImageStatus: () => ({ image }) };
      assert.equal(brief(await run()), expected);
      const asked = containerd.requests.find(({ method }) => method === 'ImageStatus')?.request;
      assert.equal(asked.image.image, 'pause');
    }
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
    const limits = { teardownTimeoutMs: 500, leftovers: new Map() };
    const { containerd, run } = await scene(t, { StopPodSandbox: HANGS }, limits);
    for (const _ of [1, 2]) {
      const outcome = await run();
      assert.equal(brief(outcome), 'stuck SandboxStuck');
      assert.match(outcome.message, /StopPodSandbox failed/);
    }
    assert.equal(containerd.mostProbes, 1);
    containerd.scripts = {};
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('finds out for itself whether sandboxes end when one of a predecessor’s does not', async (t) => {
    const { containerd, run } = await scene(t, {}, { teardownTimeoutMs: 300, leftovers: new Map() });
    containerd.add('ready-for-ever', PROBE_LABELS);
    containerd.scripts = {
      StopPodSandbox: (request) =>
        request.podSandboxId === 'ready-for-ever'
          ? HANGS(request)
          : containerd.usual('StopPodSandbox', request),
    };
    for (const _ of [1, 2]) assert.equal(brief(await run()), 'proven 4.4.0');
    containerd.scripts = {};
    assert.equal(brief(await run()), 'proven 4.4.0');
    assert.equal(containerd.sandboxes.size, 0);
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
