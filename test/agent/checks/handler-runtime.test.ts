import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  checkHandlerRuntime,
  judgeRuntime,
  type RuntimeFacts,
} from '../../../agent/checks/handler-runtime.ts';
import type { Runtime } from '../../../lib/containerd/client.ts';
import { DEFAULT_RUNSC_CONFIG } from '../../../lib/runsc/config.ts';
import {
  criStatus,
  criWith,
  fakeCri,
  inspect,
  loadedRuntime,
  outcome,
  outcomeOf,
  sourcesOf,
} from './fake-node.ts';

const RUNC = 'io.containerd.runc.v2';
const OLD_RUNC = 'io.containerd.runtime.v1.linux';
const GVISOR_SHIM = '/opt/containerd-shim-runsc-v1';
const GVISOR_INFO = { kind: 'ok', name: 'io.containerd.runsc.v1' } as const;

type Row = readonly [name: string, Partial<Runtime>, expected: string, Partial<RuntimeFacts>?];
const runc = (options: Runtime['options']) => ({ runtimeType: RUNC, options });

describe('judgeRuntime', () => {
  // biome-ignore format: one row a line
  const RUNTIMES: readonly Row[] = [
    ["gVisor's type", {}, 'pass'],
    ["a path of gVisor's shim", { runtimeType: 'x.y', runtimePath: GVISOR_SHIM }, 'pass'],
    ["runc's type, a path of gVisor's shim", { runtimeType: RUNC, runtimePath: GVISOR_SHIM }, 'pass'],
    ["runc's type", { runtimeType: RUNC }, 'error HandlerRunsRunc'],
    ["runc's old type", { runtimeType: OLD_RUNC }, 'error HandlerRunsRunc'],
    ['a misspelt option', runc({ BinarName: '/x/runsc' }), 'error HandlerRunsRunc'],
    ['BinaryName crun', runc({ BinaryName: '/x/crun' }), 'error HandlerRunsRunc'],
    ['BinaryName runsc', runc({ BinaryName: '/x/runsc' }), 'warning HandlerUsesRuncShim'],
    ["runc's shim", { runtimePath: '/x' }, 'error HandlerRunsRunc', { shim: '/x/containerd-shim-runc-v2' }],
    ['a shim that reports runc', {}, 'error HandlerRunsRunc', { info: { kind: 'ok', name: RUNC } }],
    ['a binary_name that leads to runc', {}, 'error HandlerRunsRunc', { binary: '/usr/sbin/runc' }],
    ['Kata', { runtimeType: 'io.containerd.kata.v2' }, 'warning HandlerNotGvisor', { shim: '/k' }],
    ['another type that reports gVisor', { runtimeType: 'a.g.v1' }, 'pass', { shim: '/g', info: GVISOR_INFO }],
  ];
  for (const [name, runtime, expected, facts] of RUNTIMES) {
    it(`judges ${name}: ${expected}`, () => {
      const result = judgeRuntime({
        handler: 'runsc',
        runtime: { ...loadedRuntime(runtime), seen: 'loaded' },
        config: DEFAULT_RUNSC_CONFIG,
        shim: '/usr/local/bin/containerd-shim-runsc-v1',
        binary: '/usr/local/bin/runsc',
        info: undefined,
        ...facts,
      });
      assert.equal(outcome(result), expected);
    });
  }
});

describe('handler-runtime', () => {
  it('judges the loaded handler, not the one on disk', async () => {
    const sources = sourcesOf('kubeadm-ready', { cri: criWith({ runtimeType: RUNC }) });
    assert.equal(await outcomeOf(checkHandlerRuntime, sources), 'error HandlerRunsRunc');
  });

  it('judges the disk when containerd does not respond', async () => {
    const sources = sourcesOf('kubeadm-runc-in-disguise', { cri: fakeCri(undefined) });
    const seen = await inspect(checkHandlerRuntime, sources);
    assert.equal(outcome(seen), 'error HandlerRunsRunc');
    assert.equal(seen.evidence?.[0]?.file, '/etc/containerd/config.toml');
  });

  it("finds runc behind kind's test-handler", async () => {
    const changes = { handler: 'test-handler', cri: fakeCri(criStatus('v2.1.5')) };
    const sources = sourcesOf('kind-test-handler', changes);
    assert.equal(await outcomeOf(checkHandlerRuntime, sources), 'error HandlerRunsRunc');
  });
});
