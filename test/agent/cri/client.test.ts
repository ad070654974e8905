import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { loadedRuntimes } from '../../../agent/containerd/client.ts';
import { CriError } from '../../../agent/containerd/error.ts';
import { GARBAGE, HANGS, refuses } from '../proof/containerd-scripts.ts';
import { CONFIG, fakeContainerd } from '../proof/fake-containerd.ts';

describe('CriClient', { concurrency: true }, () => {
  it('keeps no labels of pods, whose number nothing limits', async (t) => {
    const labels = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`l${n}`, '']));
    const { containerd, client } = await fakeContainerd(t);
    containerd.sandboxes.add('1f', labels);
    const metadata = { name: '1f', namespace: 'eval', uid: '1f' };
    assert.deepEqual(await client.listSandboxes('all'), [
      { id: '1f', metadata, createdAt: 0, runtimeHandler: '' },
    ]);
  });

  it('tells what containerd says of itself', async (t) => {
    const { client } = await fakeContainerd(t);
    assert.deepEqual(await client.status(), {
      runtimeName: 'containerd',
      runtimeVersion: 'v2.4.2',
      runtimes: loadedRuntimes(CONFIG),
      conditions: [{ type: 'RuntimeReady', status: true, reason: '', message: '' }],
    });
  });

  const shims: readonly [string, Parameters<typeof fakeContainerd>[1], object][] = [
    ['a shim that runs', {}, { kind: 'ok', name: 'io.containerd.runsc.v1' }],
    ["an answer without the shim's words", { PluginInfo: () => ({}) }, { kind: 'ok', name: '' }],
    [
      'a shim that does not',
      { PluginInfo: refuses('no such shim') },
      { kind: 'error', message: 'no such shim' },
    ],
    [
      'containerd 1.x, which cannot be asked',
      { PluginInfo: refuses('unknown method', status.UNIMPLEMENTED) },
      { kind: 'unsupported' },
    ],
  ];
  for (const [name, scripts, expected] of shims) {
    it(`knows of ${name}`, async (t) => {
      const { containerd, client } = await fakeContainerd(t, scripts);
      assert.deepEqual(await client.shimInfo('io.containerd.runsc.v1'), expected);
      const [asked] = containerd.requests;
      assert.equal(asked?.request.options.value.runtimePath, 'io.containerd.runsc.v1');
    });
  }

  const kinds: readonly [string, Parameters<typeof fakeContainerd>[1], CriError['kind'], string][] = [
    ['a refusal', { Version: refuses('no') }, 'refused', 'no'],
    ['absence', { Version: refuses('gone', status.NOT_FOUND) }, 'absent', "containerd's Version: gone"],
    ['garbage', { Version: GARBAGE }, 'unreachable', "containerd's Version: "],
    ['no answer', { Version: HANGS }, 'timeout', "containerd's Version: "],
  ];
  for (const [name, scripts, kind, words] of kinds) {
    it(`calls ${name} ${kind}`, async (t) => {
      const { client } = await fakeContainerd(t, scripts);
      const error = await client
        .version({ timeoutMs: kind === 'timeout' ? 300 : 60_000 })
        .catch((cause: unknown) => cause);
      assert.ok(error instanceof CriError);
      assert.equal(error.kind, kind);
      assert.ok(error.message.startsWith(words), error.message);
    });
  }

  it('asks nothing once its signal is aborted, and gives up when it is', async (t) => {
    const { containerd, client } = await fakeContainerd(t, { Version: HANGS });
    await assert.rejects(client.version({ signal: AbortSignal.abort(new Error('stop')) }), /stop/);
    assert.deepEqual(containerd.calls, []);
    const stop = new AbortController();
    const asked = containerd.called('Version');
    const call = client.version({ signal: stop.signal });
    const rejected = assert.rejects(call, { kind: 'aborted' });
    await asked;
    stop.abort();
    await rejected;
  });

  it('ends calls without an answer when it is closed, so that no boot keeps a process alive', async (t) => {
    const { containerd, client } = await fakeContainerd(t, { RunPodSandbox: HANGS });
    const asked = containerd.called('RunPodSandbox');
    const rejected = assert.rejects(client.runSandbox({}, 'runsc', { timeoutMs: null }), { kind: 'aborted' });
    await asked;
    client.close();
    await rejected;
  });

  it('sets its own deadline, that of the call, or none', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    await client.version();
    await client.version({ timeoutMs: 60_000 });
    await client.version({ timeoutMs: null });
    assert.deepEqual(
      containerd.requests.map(({ deadline }) => deadline),
      [true, true, false],
    );
  });

  it("tells containerd's own PID, and 0 where it does not say", async (t) => {
    const { containerd, client } = await fakeContainerd(t, { Server: () => ({ pid: 612 }) });
    assert.equal(await client.serverPid(), 612);
    containerd.scripts = {};
    assert.equal(await client.serverPid(), 0);
  });

  it('asks the task service and the container service for what bears the same name there', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    const { sandboxes } = containerd;
    sandboxes.records.set('1f', { labels: { a: 'b', c: 'd' }, task: true });
    sandboxes.records.set('2e', { labels: { a: 'b' }, task: false });
    sandboxes.records.set('3d', { labels: { a: 'b', c: 'd', e: 'f' }, task: false });
    assert.deepEqual(await client.listContainers({ labels: { a: 'b', c: 'd' }, without: 'e' }), [
      { id: '1f', labels: { a: 'b', c: 'd' }, createdAt: { seconds: 0 } },
    ]);
    await client.deleteTask('1f');
    await client.deleteContainer('1f');
    assert.deepEqual([...sandboxes.records.keys()], ['2e', '3d']);
    assert.deepEqual(containerd.calls.slice(-2), ['Tasks.Delete', 'Containers.Delete']);
  });

  it('tells a sandbox, and which PIDs its runtime knows', async (t) => {
    const { containerd, client } = await fakeContainerd(t);
    const config = { linux: { cgroupParent: '/kubepods/pod1' } };
    containerd.sandboxes.add('1f', {}, { config });
    const pid = containerd.sandboxes.byId.get('1f')?.pid ?? 0;
    const runtimeType = 'io.containerd.runsc.v1';
    const seen = { state: 'SANDBOX_READY', pid, runtimeType, cgroupParent: '/kubepods/pod1' };
    assert.deepEqual(await client.sandbox('1f'), { ...seen, annotations: new Map() });
    assert.deepEqual(await client.listPids('1f'), [1]);
    await assert.rejects(client.sandbox('gone'), { kind: 'absent' });
  });
});
