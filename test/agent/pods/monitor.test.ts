import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it, mock } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import { PodMonitor } from '../../../agent/pods/monitor.ts';
import { RequiredNamespaces } from '../../../agent/pods/namespaces.ts';
import { Host } from '../../../lib/host/host.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { refuses, type Script } from '../../lib/proof/containerd-scripts.ts';
import { fakeContainerd } from '../../lib/proof/fake-containerd.ts';

const podIn = (namespace: string, runtimeHandler = '') => ({
  runtimeHandler,
  id: namespace,
  metadata: { name: 'pod', namespace, uid: `uid-${namespace}` },
  labels: { 'io.kubernetes.pod.uid': `uid-${namespace}` },
});

describe('PodMonitor', () => {
  /** Reads take no time by this clock, so the pauses between them stay short on a busy machine. */
  let nowMs = 0;
  before(() => void mock.method(performance, 'now', () => nowMs));
  after(() => mock.restoreAll());

  it('reports pods that violate the requirement, and logs an unreadable list once', async (t) => {
    const usual: Record<string, Script> = {
      ListPodSandbox: () => ({ items: [podIn('eval'), podIn('other')] }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    };
    const { containerd, client } = await fakeContainerd(t, usual);
    const lines: { readonly msg: string }[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const stop = new AbortController();
    const namespaces = { known: true, names: new Set(['eval']) };
    const pods = new PodMonitor({ client, host: new Host('/'), namespaces, log, everyMs: 5 });
    const done = pods.run(stop.signal);
    while (pods.report() === undefined) await containerd.called('ListPodSandbox');
    const { violating, permitted } = pods.report() ?? {};
    const named = [violating, permitted].map((found) => found?.map(({ namespace }) => namespace));
    assert.deepEqual(named, [['eval'], ['other']]);
    containerd.scripts = { ...usual, ListPodSandbox: refuses('the store is broken') };
    for (let read = 0; read < 3; read++) await containerd.called('ListPodSandbox');
    const messages = lines.map(({ msg }) => msg);
    assert.deepEqual(messages, ['cannot read the pods of this node: the store is broken']);
    stop.abort();
    await done;
  });

  it('reports pods outside gVisor that asked for it, in any namespace, and tells their handlers once', async (t) => {
    let items = [podIn('free', 'runsc'), podIn('plain'), podIn('kata', 'kata')];
    const { containerd, client } = await fakeContainerd(t, {
      ListPodSandbox: () => ({ items }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    });
    const stop = new AbortController();
    const told: (readonly string[])[] = [];
    const pods = new PodMonitor({
      client,
      host: new Host('/'),
      namespaces: { known: true, names: new Set() },
      handlers: ['runsc', 'runsc-kvm'],
      onOutside: (handlers) => told.push([...handlers]),
      log: pino({ level: 'silent' }),
      everyMs: 5,
    });
    const done = pods.run(stop.signal);
    for (let list = 0; list < 3; list++) await containerd.called('ListPodSandbox');
    assert.deepEqual(
      pods.report()?.violating.map(({ namespace }) => namespace),
      ['free'],
    );
    assert.deepEqual(told, [['runsc']]);
    items = [...items, podIn('new', 'runsc'), podIn('other', 'runsc-kvm')];
    while (told.length < 2) await containerd.called('ListPodSandbox');
    assert.deepEqual(told, [['runsc'], ['runsc', 'runsc-kvm']]);
    stop.abort();
    await done;
  });

  it('lists pods again only once a task has begun or ended, when nothing else is unknown', async (t) => {
    const bundles = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';
    const host = await tempHost(t, { [`${bundles}/first/config.json`]: '{}' });
    let items = [podIn('eval')];
    const { containerd, client } = await fakeContainerd(t, {
      ListPodSandbox: () => ({ items }),
      PodSandboxStatus: () => ({ info: { info: '{"runtimeType":"io.containerd.runc.v2"}' } }),
    });
    const reads = new EventEmitter<{ read: [namespaces: readonly string[]] }>();
    const stop = new AbortController();
    let failed = 0;
    const monitor = new PodMonitor({
      client,
      host,
      namespaces: new RequiredNamespaces(),
      onFailedStart: () => failed++,
      onRead: ({ pods }) =>
        reads.emit(
          'read',
          pods.map(({ namespace }) => namespace),
        ),
      log: pino({ level: 'silent' }),
      everyMs: 5,
      settledMs: 20, // longer than the clock ticks of a file system
    });
    const done = monitor.run(stop.signal);
    for (let lists = -1; lists !== containerd.count('ListPodSandbox'); await once(reads, 'read'))
      lists = containerd.count('ListPodSandbox');
    items = [podIn('eval'), podIn('other')];
    for (let read = 0; read < 5; read++) assert.deepEqual(await once(reads, 'read'), [['eval']]);
    await mkdir(join(host.root, bundles, 'second'));
    for (let found = 1; found < 2; ) found = (await once(reads, 'read'))[0].length;
    items = [podIn('other')];
    await rmdir(join(host.root, bundles, 'second'));
    for (let found = 2; found > 1; ) found = (await once(reads, 'read'))[0].length;
    assert.equal(failed, 0);
    const short = join(host.root, bundles, 'of-a-pod-that-cannot-start');
    await mkdir(short);
    await rmdir(short);
    while (failed === 0) await once(reads, 'read');
    stop.abort();
    await done;
  });

  it('lists pods each time while a change may not be in the list yet, or a pod is unknown', async (t) => {
    const bundles = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';
    for (const [settledMs, runtimeType] of [
      [60_000, 'io.containerd.runc.v2'],
      [1, 'io.containerd.unknown.v1'],
    ] as const) {
      const host = await tempHost(t, { [`${bundles}/first/config.json`]: '{}' });
      const { containerd, client } = await fakeContainerd(t, {
        ListPodSandbox: () => ({ items: [podIn('eval')] }),
        PodSandboxStatus: () => ({ info: { info: JSON.stringify({ runtimeType }) } }),
      });
      const stop = new AbortController();
      const options = { client, host, namespaces: new RequiredNamespaces(), everyMs: 5, settledMs };
      const done = new PodMonitor({ ...options, log: pino({ level: 'silent' }) }).run(stop.signal);
      for (let list = 0; list < 5; list++) await containerd.called('ListPodSandbox');
      stop.abort();
      await done;
    }
  });

  it('reads less often the longer a read takes, since pods determine the length of the list', async (t) => {
    let lists = 0;
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const listSandboxes = async () => {
      lists += 1;
      nowMs += 100;
      return [];
    };
    const fakes = { client: { listSandboxes } as never, host: { stat: async () => undefined } as never };
    const stop = new AbortController();
    const namespaces = new RequiredNamespaces();
    const pods = new PodMonitor({ ...fakes, namespaces, log: pino({ level: 'silent' }), everyMs: 5 });
    const done = pods.run(stop.signal);
    for (const [ms, expected] of [
      [0, 1],
      [1_999, 1],
      [1, 2],
    ] as const) {
      t.mock.timers.tick(ms);
      await setImmediate();
      assert.equal(lists, expected);
    }
    stop.abort();
    await done;
  });
});
