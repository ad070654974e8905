import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { watchContainers } from '../../../agent/trigger/containers.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

describe('watchContainers', () => {
  it('does not take the events of a containerd that gives each to one listener', async (t) => {
    const { containerd, client } = await fakeContainerd(t, {
      Version: () => ({ runtimeName: 'containerd', runtimeVersion: 'v1.7.34' }),
    });
    const stop = new AbortController();
    const asked = containerd.called('Version');
    const done = watchContainers(client, () => {}, stop.signal);
    await asked;
    await client.status();
    stop.abort();
    await done;
    assert.ok(!containerd.calls.includes('GetContainerEvents'));
  });
});
