import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { handlerRuntime, judgeRuntime, type RuntimeFacts } from '../../../agent/checks/handler-runtime.ts';
import type { Runtime } from '../../../agent/containerd/client.ts';
import { DEFAULT_RUNSC_CONFIG } from '../../../agent/runsc/config.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, outcomeOf, sourcesOf } from './fake-node.ts';

const RUNC = 'io.containerd.runc.v2';

function facts(runtime: Partial<Runtime>, changes: Partial<RuntimeFacts> = {}): RuntimeFacts {
  return {
    handler: 'runsc',
    runtime: { ...loadedRuntime(runtime), seen: 'loaded' },
    config: DEFAULT_RUNSC_CONFIG,
    shim: '/usr/local/bin/containerd-shim-runsc-v1',
    binary: '/usr/local/bin/runsc',
    info: undefined,
    ...changes,
  };
}

describe('judgeRuntime', () => {
  const RUNTIMES: readonly (readonly [string, RuntimeFacts, string])[] = [
    ["gVisor's type", facts({}), 'pass'],
    [
      "a runtime_path to gVisor's shim",
      facts({ runtimeType: 'x.y', runtimePath: '/opt/containerd-shim-runsc-v1' }),
      'pass',
    ],
    ["runc's type", facts({ runtimeType: RUNC }), 'error HandlerRunsRunc'],
    ["runc's old type", facts({ runtimeType: 'io.containerd.runtime.v1.linux' }), 'error HandlerRunsRunc'],
    [
      "runc's type with a misspelt option",
      facts({ runtimeType: RUNC, options: { BinarName: '/usr/bin/runsc' } }),
      'error HandlerRunsRunc',
    ],
    [
      "runc's type with runc as BinaryName",
      facts({ runtimeType: RUNC, options: { BinaryName: '/usr/bin/crun' } }),
      'error HandlerRunsRunc',
    ],
    [
      "runc's type with runsc as BinaryName",
      facts({ runtimeType: RUNC, options: { BinaryName: '/usr/bin/runsc' } }),
      'warning HandlerUsesRuncShim',
    ],
    [
      "a runtime_path to runc's shim",
      facts({ runtimePath: '/x' }, { shim: '/usr/bin/containerd-shim-runc-v2' }),
      'error HandlerRunsRunc',
    ],
    [
      "runc's type with a runtime_path to gVisor's shim",
      facts({ runtimeType: RUNC, runtimePath: '/usr/local/bin/containerd-shim-runsc-v1' }),
      'pass',
    ],
    [
      "a shim that says it is runc's",
      facts({}, { info: { kind: 'ok', name: RUNC } }),
      'error HandlerRunsRunc',
    ],
    ['a binary_name that leads to runc', facts({}, { binary: '/usr/sbin/runc' }), 'error HandlerRunsRunc'],
    [
      'another sandbox',
      facts({ runtimeType: 'io.containerd.kata.v2' }, { shim: '/k' }),
      'warning HandlerNotGvisor',
    ],
    [
      "another type whose shim says it is gVisor's",
      facts(
        { runtimeType: 'a.gvisor.v1' },
        { shim: '/g', info: { kind: 'ok', name: 'io.containerd.runsc.v1' } },
      ),
      'pass',
    ],
  ];
  for (const [name, runtime, expected] of RUNTIMES) {
    it(`judges ${name}: ${expected}`, () => assert.equal(outcome(judgeRuntime(runtime)), expected));
  }
});

describe('handler-runtime', () => {
  it('judges what is loaded, not what is on disk', async () => {
    const runsc = loadedRuntime({ runtimeType: RUNC });
    const sources = sourcesOf('kubeadm-ready', { cri: fakeCri(criStatus('v2.4.2', { runsc })) });
    assert.equal(await outcomeOf(handlerRuntime, sources), 'error HandlerRunsRunc');
  });

  it('judges the disk when containerd does not respond', async () => {
    const sources = sourcesOf('kubeadm-runc-in-disguise', { cri: fakeCri(undefined) });
    const seen = await inspect(handlerRuntime, sources);
    assert.equal(outcome(seen), 'error HandlerRunsRunc');
    assert.deepEqual(seen.evidence?.[0]?.file, '/etc/containerd/config.toml');
  });

  it("finds runc behind kind's test-handler", async () => {
    const sources = sourcesOf('kind-test-handler', {
      handler: 'test-handler',
      cri: fakeCri(criStatus('v2.1.5')),
    });
    assert.equal(await outcomeOf(handlerRuntime, sources), 'error HandlerRunsRunc');
  });
});
