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
  it('reports pods that violate the requirement, and logs an unreadable list once', async (t) => {
    const usual: Record<string, Script> = {
      ListPodSandbox: () => ({ items: [podIn('eval'), podIn('other')] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    };
    const { containerd, client } = await fakeContainerd(t, usual);
    const lines: { readonly msg: string }[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const stop = new AbortController();
    const namespaces = new RequiredNamespaces();
    const pods = new PodMonitor({ client, host: new Host('/'), namespaces, log, everyMs: 5 });
    const get = async () => ({ items: [{ metadata: { name: 'eval' } }], metadata: { resourceVersion: '1' } });
    const watch = async function* (): AsyncGenerator<WatchEvent> {
      await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
    };
    const done = Promise.all([
      namespaces.run({ get, watch } as unknown as Kube, log, stop.signal),
      pods.run(stop.signal),
    ]);
    while (pods.report()?.requirementsKnown !== true) await containerd.called('ListPodSandbox');
    const { violating, permitted } = pods.report() ?? {};
    assert.deepEqual(
      [violating, permitted].map((found) => found?.map(({ namespace }) => namespace)),
      [['eval'], ['other']],
    );
    containerd.scripts = { ...usual, ListPodSandbox: refuses('the store is broken') };
    for (let read = 0; read < 3; read++) await containerd.called('ListPodSandbox');
    const messages = lines.map(({ msg }) => msg);
    assert.deepEqual(messages, ['cannot read the pods of this node: the store is broken']);
    stop.abort();
    await done;
  });

  it('reads less often the longer a read takes, since pods determine the length of the list', async (t) => {
    const slow: Script = async () => {
      await pause(0.1);
      return { items: [] };
    };
    const { containerd, client } = await fakeContainerd(t, { ListPodSandbox: slow });
    const log = pino({ level: 'silent' });
    const stop = new AbortController();
    const namespaces = new RequiredNamespaces();
    const pods = new PodMonitor({ client, host: new Host('/'), namespaces, log, everyMs: 5 });
    const done = pods.run(stop.signal);
    await pause(1.5);
    stop.abort();
    await done;
    assert.equal(containerd.count('ListPodSandbox'), 1);
  });
});
