import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { Host } from '../../../agent/host/host.ts';
import type { Kube, WatchEvent } from '../../../agent/kube/client.ts';
import { PodMonitor } from '../../../agent/pods/monitor.ts';
import { RequiredNamespaces } from '../../../agent/pods/namespaces.ts';
import { pause } from '../../../hack/run.ts';
import { refuses, type Script } from '../proof/containerd-scripts.ts';
import { fakeContainerd } from '../proof/fake-containerd.ts';

const podIn = (namespace: string) => ({
  id: namespace,
  metadata: { name: 'pod', namespace, uid: `uid-${namespace}` },
  labels: { 'io.kubernetes.pod.uid': `uid-${namespace}` },
});

describe('PodMonitor', () => {
  it('names those that must be in gVisor and are not, and says once that it cannot read', async (t) => {
    const usual: Record<string, Script> = {
      ListPodSandbox: () => ({ items: [podIn('eval'), podIn('other')] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    };
    const { containerd, client } = await fakeContainerd(t, usual);
    const lines: { readonly msg: string }[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const stop = new AbortController();
    const namespaces = new RequiredNamespaces(() => {});
    const pods = new PodMonitor({ client, host: new Host('/'), namespaces, onRead() {}, log, everyMs: 5 });
    let events = Promise.withResolvers<WatchEvent>();
    const get = async () => ({ items: [], metadata: { resourceVersion: '1' } });
    const watch = async function* (): AsyncGenerator<WatchEvent> {
      while (!stop.signal.aborted) yield await events.promise;
    };
    /** Each word of a namespace leads to a reading. */
    const ring = async () => {
      const asked = containerd.called('ListPodSandbox');
      const told = events;
      events = Promise.withResolvers();
      told.resolve({ type: 'ADDED', object: { metadata: { name: 'eval' } } });
      await asked;
    };
    const done = Promise.all([
      pods.run(stop.signal),
      namespaces.run({ get, watch } as unknown as Kube, log, stop.signal),
    ]);
    await ring();
    containerd.scripts = { ...usual, ListPodSandbox: refuses('the store is broken') };
    for (let round = 0; round < 3; round++) await ring();
    assert.deepEqual(
      pods.outside()?.violating.map(({ namespace }) => namespace),
      ['eval'],
    );
    assert.deepEqual(
      pods.outside()?.permitted.map(({ namespace }) => namespace),
      ['other'],
    );
    const words = lines.map(({ msg }) => msg).filter((msg) => msg.startsWith('cannot read'));
    assert.deepEqual(words, ['cannot read the pods of this node: the store is broken']);
    stop.abort();
    events.resolve({ type: 'BOOKMARK', object: {} });
    await done;
  });

  it('is asked less often the longer the list takes, whose length pods decide', async (t) => {
    const slow: Script = async () => {
      await pause(0.1);
      return { items: [] };
    };
    const { containerd, client } = await fakeContainerd(t, { ListPodSandbox: slow });
    const log = pino({ level: 'silent' });
    const stop = new AbortController();
    const namespaces = new RequiredNamespaces(() => {});
    const pods = new PodMonitor({ client, host: new Host('/'), namespaces, onRead() {}, log, everyMs: 5 });
    const done = pods.run(stop.signal);
    await pause(1.5);
    stop.abort();
    await done;
    assert.equal(containerd.count('ListPodSandbox'), 1);
  });
});
