import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { CriError, loadedRuntimes } from '../../../agent/host/cri-client.ts';
import { CONFIG, fakeContainerd, GARBAGE, HANGS, refuses } from '../proof/fake-containerd.ts';

/** As containerd 1.7.34 answers, shortened: field names of the CRI plugin in camel case, its own in capitals. */
const V1 = {
  containerd: {
    snapshotter: 'overlayfs',
    defaultRuntimeName: 'runc',
    defaultRuntime: { runtimeType: '', runtimePath: '', options: null },
    runtimes: {
      runc: {
        runtimeType: 'io.containerd.runc.v2',
        runtimePath: '',
        runtimeEngine: '',
        PodAnnotations: [],
        ContainerAnnotations: [],
        runtimeRoot: '',
        options: { BinaryName: '', SystemdCgroup: false },
        privileged_without_host_devices: false,
        baseRuntimeSpec: '',
        snapshotter: '',
        sandboxMode: 'podsandbox',
      },
      runsc: {
        runtimeType: 'io.containerd.runsc.v1',
        runtimePath: '',
        options: { ConfigPath: '/etc/containerd/runsc.toml', TypeUrl: 'io.containerd.runsc.v1.options' },
        snapshotter: 'native',
      },
    },
  },
  registry: { configs: { 'registry.example.com': { auth: { username: 'u', password: 'hunter2' } } } },
};

/** As containerd 2.4.2 answers, shortened. */
const V2 = {
  containerd: {
    defaultRuntimeName: 'runc',
    runtimes: {
      runsc: {
        runtimeType: 'io.containerd.runsc.v1',
        runtimePath: '/opt/gvisor/containerd-shim-runsc-v1',
        PodAnnotations: [],
        ContainerAnnotations: [],
        options: null,
        privileged_without_host_devices: false,
        cniConfDir: '',
        snapshotter: '',
        sandboxer: 'podsandbox',
        io_type: '',
      },
    },
    ignoreBlockIONotEnabledErrors: false,
  },
  cni: { binDir: '', binDirs: ['/opt/cni/bin'] },
};

describe('loadedRuntimes', () => {
  it('reads the shape of containerd 1.x', () => {
    const { defaultRuntimeName, runtimes } = loadedRuntimes(JSON.stringify(V1));
    assert.equal(defaultRuntimeName, 'runc');
    assert.deepEqual([...runtimes.keys()], ['runc', 'runsc']);
    assert.deepEqual(runtimes.get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '',
      options: { ConfigPath: '/etc/containerd/runsc.toml', TypeUrl: 'io.containerd.runsc.v1.options' },
      snapshotter: 'native',
    });
  });

  it('reads the shape of containerd 2.x', () => {
    assert.deepEqual(loadedRuntimes(JSON.stringify(V2)).runtimes.get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '/opt/gvisor/containerd-shim-runsc-v1',
      options: {},
      snapshotter: '',
    });
  });

  it('keeps nothing of the registries', () => {
    const { defaultRuntimeName, runtimes } = loadedRuntimes(JSON.stringify(V1));
    assert.doesNotMatch(JSON.stringify([defaultRuntimeName, ...runtimes]), /hunter2/);
  });

  for (const text of ['null', '{}', '{"containerd":null}', '{"containerd":{"runtimes":null}}', '[]', '5']) {
    it(`sees no handler in ${text}`, () => {
      assert.deepEqual(loadedRuntimes(text), { defaultRuntimeName: '', stateDir: '', runtimes: new Map() });
    });
  }

  it('takes fields of other types for absent', () => {
    const odd = {
      containerd: { defaultRuntimeName: 7, runtimes: { a: null, b: { runtimeType: 1, options: 'x' } } },
    };
    const empty = { runtimeType: '', runtimePath: '', options: {}, snapshotter: '' };
    assert.deepEqual(loadedRuntimes(JSON.stringify(odd)), {
      defaultRuntimeName: '',
      stateDir: '',
      runtimes: new Map([
        ['a', empty],
        ['b', empty],
      ]),
    });
  });

  it('says nothing of the text when it is no JSON', () => {
    const cut = JSON.stringify(V1).slice(0, -2);
    assert.throws(
      () => loadedRuntimes(cut),
      (error: Error) => !/hunter2/.test(`${error.message} ${error.stack} ${String(error.cause)}`),
    );
    assert.throws(() => loadedRuntimes(undefined), /carries no configuration/);
  });
});

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
