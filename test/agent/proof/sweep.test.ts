import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CriClient } from '../../../agent/containerd/client.ts';
import { OWNER, PROBE_LABELS, sweepForgotten, sweepSandboxes } from '../../../agent/proof/sandbox.ts';
import { refuses } from './containerd-scripts.ts';
import { NEVER, POD, scene } from './scene.ts';

const NOW_MS = 1_800_000_000_000;
const sweepOf = (client: CriClient) => ({ client, owner: 'me', wallMs: () => NOW_MS });

describe('sweepSandboxes', { concurrency: true }, () => {
  it('removes what earlier probes left, and nothing else', async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    sandboxes.addProbe('left-1');
    sandboxes.addProbe('left-2');
    sandboxes.add('other', { 'app.kubernetes.io/managed-by': 'Helm' });
    const metadata = { name: 'gvisor-probe-1', namespace: 'gvisor-ready', uid: '0f-12' };
    sandboxes.add('disguised', { ...PROBE_LABELS, ...POD }, { config: { metadata } });
    assert.deepEqual(await sweepSandboxes(sweepOf(client), NEVER), []);
    assert.deepEqual([...sandboxes.byId.keys()], ['other', 'disguised']);
    assert.equal(sandboxes.byId.get('disguised')?.state, 'SANDBOX_READY');
    const order = containerd.requests.flatMap(({ method, request }) =>
      request.podSandboxId === 'left-1' ? [method] : [],
    );
    assert.deepEqual(order, ['StopPodSandbox', 'RemovePodSandbox']);
  });

  it('tells which are still there', async (t) => {
    const { containerd, client } = await scene(t, { RemovePodSandbox: refuses('sandbox is not stopped') });
    containerd.sandboxes.addProbe('stubborn');
    assert.deepEqual(await sweepSandboxes(sweepOf(client), NEVER), ['stubborn']);
    containerd.scripts = {};
    assert.deepEqual(await sweepSandboxes(sweepOf(client), NEVER), []);
  });

  it("leaves another agent's young probe alone, which may be in use", async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    for (const [id, ageS] of [
      ['other-young', 59],
      ['other-old', 60],
      ['me-young', 1],
    ] as const) {
      sandboxes.addProbe(id);
      sandboxes.createdMs.set(id, NOW_MS - ageS * 1_000);
    }
    assert.deepEqual(await sweepSandboxes(sweepOf(client), NEVER), []);
    assert.deepEqual([...sandboxes.byId.keys()], ['other-young']);
  });

  it('asks one question where nothing is left', async (t) => {
    const { containerd, client } = await scene(t);
    await sweepSandboxes(sweepOf(client), NEVER);
    assert.deepEqual(containerd.calls, ['ListPodSandbox']);
  });

  it('rejects when the list is refused', async (t) => {
    const { client } = await scene(t, { ListPodSandbox: refuses('no') });
    await assert.rejects(sweepSandboxes(sweepOf(client), NEVER), /^CriError: no$/);
  });
});

describe('sweepForgotten', { concurrency: true }, () => {
  it('deletes a task in state CREATED that the CRI does not list', async (t) => {
    const { containerd, client } = await scene(t);
    const { records } = containerd.sandboxes;
    records.set('forgotten', { labels: PROBE_LABELS, task: true });
    records.set('without-task', { labels: PROBE_LABELS, task: false });
    records.set('disguised', { labels: { ...PROBE_LABELS, ...POD }, task: true });
    records.set('other', { labels: {}, task: true });
    assert.deepEqual((await sweepForgotten(sweepOf(client), NEVER)).left, []);
    assert.deepEqual([...records.keys()], ['disguised', 'other']);
    assert.equal(records.get('disguised')?.task, true);
  });

  it("leaves another agent's young record alone, and says so", async (t) => {
    const { containerd, client } = await scene(t);
    const { records, createdMs } = containerd.sandboxes;
    for (const [id, owner] of [
      ['of-another', 'other'],
      ['own', 'me'],
    ] as const) {
      records.set(id, { labels: { ...PROBE_LABELS, [OWNER]: owner }, task: true });
      createdMs.set(id, NOW_MS - 59_000);
    }
    assert.deepEqual(await sweepForgotten(sweepOf(client), NEVER), { left: [], inUse: true });
    assert.deepEqual([...records.keys()], ['of-another']);
  });

  it('tells which are still there, and leaves their records', async (t) => {
    const { containerd, client } = await scene(t, { 'Tasks.Delete': refuses('device or resource busy') });
    containerd.sandboxes.records.set('forgotten', { labels: PROBE_LABELS, task: true });
    assert.deepEqual((await sweepForgotten(sweepOf(client), NEVER)).left, ['forgotten']);
    assert.deepEqual(containerd.sandboxes.orphans, []);
    containerd.scripts = {};
    assert.deepEqual((await sweepForgotten(sweepOf(client), NEVER)).left, []);
  });

  it('rejects when the list is refused', async (t) => {
    const { client } = await scene(t, { 'Containers.List': refuses('no') });
    await assert.rejects(sweepForgotten(sweepOf(client), NEVER), /^CriError: no$/);
  });
});
