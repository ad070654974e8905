import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CriError } from '../../../agent/host/cri-error.ts';
import { loadedRuntimes } from '../../../agent/host/loaded-runtimes.ts';
import { GARBAGE, HANGS, refuses } from '../proof/containerd-scripts.ts';
import { CONFIG, fakeContainerd } from '../proof/fake-containerd.ts';

describe('CriClient', { concurrency: true }, () => {
  it('tells what containerd says of itself', async (t) => {
    const { client } = await fakeContainerd(t);
    assert.deepEqual(await client.status(), {
      runtimeName: 'containerd',
      runtimeVersion: 'v2.4.2',
      ...loadedRuntimes(CONFIG),
      conditions: [{ type: 'RuntimeReady', status: true, reason: '', message: '' }],
    });
  });

  const shims: readonly [string, Parameters<typeof fakeContainerd>[1], object][] = [
    ['a shim that runs', {}, { kind: 'ok', name: 'io.containerd.runsc.v1', version: 'v1' }],
    ['an answer without the shim’s words', { PluginInfo: () => ({}) }, { kind: 'ok', name: '', version: '' }],
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
    ['no answer', { Version: HANGS }, 'late', "containerd's Version: "],
  ];
  for (const [name, scripts, kind, words] of kinds) {
    it(`calls ${name} ${kind}`, async (t) => {
      const { client } = await fakeContainerd(t, scripts);
      const error = await client.call('Version', {}, { timeoutMs: 300 }).catch((cause: unknown) => cause);
      assert.ok(error instanceof CriError);
      assert.equal(error.kind, kind);
      assert.ok(error.message.startsWith(words), error.message);
    });
  }

  it('asks nothing once its signal is aborted, and gives up when it is', async (t) => {
    const { containerd, client } = await fakeContainerd(t, { Version: HANGS });
    await assert.rejects(
      client.call('Version', {}, { signal: AbortSignal.abort(new Error('stop')) }),
      /stop/,
    );
    assert.deepEqual(containerd.calls, []);
    const stop = new AbortController();
    const asked = containerd.called('Version');
    const call = client.call('Version', {}, { signal: stop.signal });
    const rejected = assert.rejects(call, { kind: 'aborted' });
    await asked;
    stop.abort();
    await rejected;
  });

  it('knows no method that the schema lacks', async (t) => {
    const { client } = await fakeContainerd(t);
    assert.throws(() => client.call('UpdateRuntimeConfig', {}), /No method "UpdateRuntimeConfig"/);
  });
});
