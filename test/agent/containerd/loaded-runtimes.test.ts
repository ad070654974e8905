import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadedRuntimes } from '../../../agent/containerd/client.ts';

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
        PodAnnotations: ['dev.gvisor.*'],
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
        PodAnnotations: ['a.*', 'b'],
        ContainerAnnotations: ['c'],
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
    const runtimes = loadedRuntimes(JSON.stringify(V1));
    assert.deepEqual([...runtimes.keys()], ['runc', 'runsc']);
    assert.deepEqual(runtimes.get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '',
      options: { ConfigPath: '/etc/containerd/runsc.toml', TypeUrl: 'io.containerd.runsc.v1.options' },
      snapshotter: 'native',
      podAnnotations: ['dev.gvisor.*'],
    });
  });

  it('reads the shape of containerd 2.x', () => {
    assert.deepEqual(loadedRuntimes(JSON.stringify(V2)).get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '/opt/gvisor/containerd-shim-runsc-v1',
      options: {},
      snapshotter: '',
      podAnnotations: ['a.*', 'b'],
    });
  });

  it('keeps nothing of the registries', () => {
    assert.doesNotMatch(JSON.stringify([...loadedRuntimes(JSON.stringify(V1))]), /hunter2/);
  });

  for (const text of ['null', '{}', '{"containerd":null}', '{"containerd":{"runtimes":null}}', '[]', '5']) {
    it(`sees no handler in ${text}`, () => {
      assert.deepEqual(loadedRuntimes(text), new Map());
    });
  }

  it('takes fields of other types for absent', () => {
    const odd = {
      containerd: { runtimes: { a: null, b: { runtimeType: 1, options: 'x', PodAnnotations: [7, null] } } },
    };
    const empty = { runtimeType: '', runtimePath: '', options: {}, snapshotter: '', podAnnotations: [] };
    assert.deepEqual(
      loadedRuntimes(JSON.stringify(odd)),
      new Map([
        ['a', empty],
        ['b', empty],
      ]),
    );
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
