import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { Host } from '../../../agent/host/host.ts';
import { PodReader } from '../../../agent/pods/read-pods.ts';
import { hearContainers, type PodsSeen, watchPods } from '../../../agent/pods/watch-pods.ts';
import { Bell } from '../../../agent/trigger/bell.ts';
import { refuses, type Script } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

const bellOf = () =>
  new Bell<string>({ quietMs: 0, longestMs: 0, burst: 1_000, refillMs: 0, now: () => performance.now() });

const podIn = (namespace: string) => ({
  id: namespace,
  metadata: { name: 'pod', namespace, uid: `uid-${namespace}` },
  labels: { 'io.kubernetes.pod.uid': `uid-${namespace}` },
});

describe('watchPods', () => {
  it('names those that must be in gVisor and are not, and says once that it cannot read', async (t) => {
    const usual: Record<string, Script> = {
      ListPodSandbox: () => ({ items: [podIn('eval'), podIn('other')] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    };
    const { containerd, client } = await fakeContainerd(t, usual);
    const lines: string[] = [];
    const stop = new AbortController();
    const bell = bellOf();
    let heard = Promise.withResolvers<PodsSeen>();
    const done = watchPods(
      {
        reader: new PodReader(client, new Host('/')),
        bell,
        required: () => new Set(['eval']),
        publish: (seen) => heard.resolve(seen),
        log: pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }),
      },
      stop.signal,
    );
    const seen = await heard.promise;
    assert.deepEqual(
      seen.pods.map(({ namespace }) => namespace),
      ['eval', 'other'],
    );
    assert.deepEqual(
      seen.unsandboxed.map(({ namespace }) => namespace),
      ['eval'],
    );
    containerd.scripts = { ...usual, ListPodSandbox: refuses('the store is broken') };
    for (let round = 0; round < 3; round++) {
      const asked = containerd.called('ListPodSandbox');
      bell.ring('test');
      await asked;
    }
    containerd.scripts = usual;
    heard = Promise.withResolvers();
    bell.ring('test');
    await heard.promise;
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /cannot read the pods of this node: the store is broken/);
    stop.abort();
    await done;
  });
});

describe('hearContainers', () => {
  it('does not take the events of a containerd that gives each to one listener', async (t) => {
    const { containerd, client } = await fakeContainerd(t, {
      Version: () => ({ runtimeName: 'containerd', runtimeVersion: 'v1.7.34' }),
    });
    const stop = new AbortController();
    const asked = containerd.called('Version');
    const done = hearContainers(client, bellOf(), stop.signal);
    await asked;
    await client.status();
    stop.abort();
    await done;
    assert.ok(!containerd.calls.includes('GetContainerEvents'));
  });
});
