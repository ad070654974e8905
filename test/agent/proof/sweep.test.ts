import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PROBE_LABELS } from '../../../agent/proof/sandbox-config.ts';
import { sweep } from '../../../agent/proof/sweep.ts';
import { refuses } from './containerd-scripts.ts';
import { NEVER, POD, scene } from './scene.ts';

describe('sweep', { concurrency: true }, () => {
  it('removes what earlier probes left, and nothing else', async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    sandboxes.add('left-1', PROBE_LABELS);
    sandboxes.add('left-2', PROBE_LABELS);
    sandboxes.add('other', { 'app.kubernetes.io/managed-by': 'Helm' });
    sandboxes.add('disguised', { ...PROBE_LABELS, ...POD });
    assert.equal(await sweep(client, NEVER), 0);
    assert.deepEqual([...sandboxes.byId.keys()], ['other', 'disguised']);
    assert.deepEqual([...sandboxes.records.keys()], ['other', 'disguised']);
    assert.equal(sandboxes.byId.get('disguised')?.state, 'SANDBOX_READY');
    const order = containerd.requests.flatMap(({ method, request }) =>
      method.endsWith('PodSandbox') && request.podSandboxId ? [`${method} ${request.podSandboxId}`] : [],
    );
    assert.deepEqual(order, [
      'StopPodSandbox left-1',
      'RemovePodSandbox left-1',
      'StopPodSandbox left-2',
      'RemovePodSandbox left-2',
    ]);
  });

  it('deletes a task in state CREATED that the CRI does not list', async (t) => {
    const { containerd, client } = await scene(t);
    const { records } = containerd.sandboxes;
    records.set('forgotten', { labels: PROBE_LABELS, task: true });
    records.set('without-task', { labels: PROBE_LABELS, task: false });
    records.set('disguised', { labels: { ...PROBE_LABELS, ...POD }, task: true });
    records.set('other', { labels: {}, task: true });
    assert.equal(await sweep(client, NEVER), 0);
    assert.deepEqual([...records.keys()], ['disguised', 'other']);
    assert.equal(records.get('disguised')?.task, true);
  });

  it('tells how many are still there', async (t) => {
    const { containerd, client } = await scene(t, {
      StopPodSandbox: refuses('cannot signal container in state created'),
      RemovePodSandbox: refuses('sandbox is not stopped'),
      'Tasks.Delete': refuses('device or resource busy'),
    });
    containerd.sandboxes.add('stubborn', PROBE_LABELS);
    containerd.sandboxes.records.set('forgotten', { labels: PROBE_LABELS, task: true });
    assert.equal(await sweep(client, NEVER), 2);
    assert.deepEqual(containerd.sandboxes.orphans, []);
    containerd.scripts = {};
    assert.equal(await sweep(client, NEVER), 0);
  });

  it('asks two questions where nothing is left', async (t) => {
    const { containerd, client } = await scene(t);
    await sweep(client, NEVER);
    assert.deepEqual(containerd.calls, ['ListPodSandbox', 'Containers.List']);
  });

  for (const method of ['ListPodSandbox', 'Containers.List']) {
    it(`rejects when ${method} is refused`, async (t) => {
      const { client } = await scene(t, { [method]: refuses('no') });
      await assert.rejects(sweep(client, NEVER), /^CriError: no$/);
    });
  }
});
