import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { isolation } from '../../../agent/checks/isolation.ts';
import type { Witness } from '../../../agent/proof/witness.ts';
import { sentryFlags } from '../../../agent/runsc/flags.ts';
import { sandboxArgv } from '../host/fake-process.ts';
import { tempHost } from '../host/temp-host.ts';
import {
  criStatus,
  fakeCri,
  inspect,
  loadedRuntime,
  outcome,
  outcomeOf,
  sourcesOf,
  witnessOf,
} from './fake-node.ts';

const cri = fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime({ options: { ConfigPath: '/r.toml' } }) }));

/** Judges a sandbox with these flags in its arguments, and this configuration file. */
async function judge(t: TestContext, flags: readonly string[], toml = '', changes: Partial<Witness> = {}) {
  const host = await tempHost(t, { '/r.toml': toml });
  const argv = sandboxArgv('1f', flags);
  const inForce = Object.fromEntries(sentryFlags(argv) ?? []);
  const witness = witnessOf({ argv, flags: inForce, ...changes });
  return inspect(isolation, sourcesOf('', { host, cri }), witness);
}

describe('isolation', () => {
  it('passes a sandbox with default flags', async (t) => {
    const seen = await judge(t, ['--platform=systrap']);
    assert.equal(outcome(seen), 'pass');
    assert.deepEqual(seen.evidence, [{ value: 'process 189 "runsc-sandbox", with a seccomp filter' }]);
  });

  it('blocks for a flag from a wrapper', async (t) => {
    const seen = await judge(t, ['--network=host'], '[runsc_config]\nplatform = "systrap"\n');
    assert.equal(outcome(seen), 'blocker IsolationWeakened');
    assert.deepEqual(
      seen.evidence?.map(({ file, value }) => [file, value.split(':')[0]]),
      [[undefined, 'network = "host"']],
    );
  });

  it('ignores a flag of the file that is not in force', async (t) => {
    const seen = await judge(t, ['--network=sandbox'], '[runsc_config]\nnetwork = "host"\n');
    assert.equal(outcome(seen), 'pass');
  });

  it('names every weakening flag with file and line, the worst first', async (t) => {
    const toml = '[runsc_config]\nnet-raw = "true"\nnetwork = "host"\n';
    const seen = await judge(t, ['--net-raw', '--network=host'], toml);
    assert.equal(outcome(seen), 'blocker IsolationWeakened');
    assert.match(seen.message, /^Flags of runsc weaken the sandbox \(network=host, net-raw=true\): /);
    assert.deepEqual(
      seen.evidence?.map(({ file, line, value }) => [file, line, value.split(':')[0]]),
      [
        ['/r.toml', 3, 'network = "host"'],
        ['/r.toml', 2, 'net-raw = "true"'],
      ],
    );
  });

  it('warns of lesser flags, even if the file is invalid or unreadable', async (t) => {
    const faulty = await judge(t, ['--platform=ptrace'], '[runsc_config]\nnetwork = "ho');
    assert.equal(outcome(faulty), 'warning IsolationWeakened');
    const witness = witnessOf({ flags: { platform: 'ptrace' } });
    const host = await tempHost(t, { '/r.toml/is-a-directory': '' });
    const seen = await inspect(isolation, sourcesOf('', { host, cri }), witness);
    assert.equal(outcome(seen), 'warning IsolationWeakened');
  });

  const PATTERN = 'dev.gvisor.*';
  const openCri = (podAnnotations: readonly string[]) =>
    fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime({ podAnnotations }) }));

  for (const [forbidFlagOverride, expected] of [
    [false, 'warning AnnotationsPassFlags'],
    [true, 'blocker AnnotationsPassFlags'],
  ] as const) {
    it(`reports annotations that the handler passes on: ${expected} with FORBID_FLAG_OVERRIDE ${forbidFlagOverride}`, async () => {
      const sources = sourcesOf('', { cri: openCri([PATTERN]), forbidFlagOverride });
      const seen = await inspect(isolation, sources, witnessOf());
      assert.equal(outcome(seen), expected);
      assert.match(seen.message, /\(dev\.gvisor\.flag\.host-uds by the pattern "dev\.gvisor\.\*"\)/);
      assert.ok(seen.evidence?.some(({ value }) => value.includes('dev.gvisor.spec.rootfs.source')));
    });
  }

  it('passes a handler that passes on only mount hints', async () => {
    const sources = sourcesOf('', { cri: openCri(['dev.gvisor.spec.mount.*']), forbidFlagOverride: true });
    assert.equal(await outcomeOf(isolation, sources, witnessOf()), 'pass');
  });

  for (const [flags, forbidFlagOverride, expected] of [
    [{ network: 'host' }, false, 'blocker IsolationWeakened'],
    [{ network: 'host' }, true, 'blocker IsolationWeakened'],
    [{ 'net-raw': 'true' }, false, 'warning IsolationWeakened'],
    [{ 'net-raw': 'true' }, true, 'blocker AnnotationsPassFlags'],
  ] as const) {
    it(`reports a weakening flag together with passed annotations: ${Object.keys(flags)}, ${expected}`, async () => {
      const sources = sourcesOf('', { cri: openCri([PATTERN]), forbidFlagOverride });
      const seen = await inspect(isolation, sources, witnessOf({ flags }));
      assert.equal(outcome(seen), expected);
      for (const words of [/Flags of runsc weaken the sandbox/, /passes on annotations/])
        assert.match(seen.message, words);
      assert.ok(seen.evidence?.some(({ value }) => value.includes('pod_annotations')));
    });
  }

  it('passes while the handler is unknown, unless FORBID_FLAG_OVERRIDE needs it', async () => {
    const blind = { cri: fakeCri(undefined) };
    assert.equal(await outcomeOf(isolation, sourcesOf('', blind), witnessOf()), 'pass');
    await assert.rejects(
      inspect(isolation, sourcesOf('', { ...blind, forbidFlagOverride: true }), witnessOf()),
      /ECONNREFUSED/,
    );
  });

  it('warns of an unknown flag', async (t) => {
    const seen = await judge(t, ['--next-year=1']);
    assert.equal(outcome(seen), 'warning IsolationWeakened');
    assert.match(seen.message, /^Flags of runsc may weaken the sandbox \(next-year=1\)/);
  });

  for (const seccomp of [0, 1, Number.NaN]) {
    it(`blocks for Seccomp ${seccomp}`, async (t) => {
      const seen = await judge(t, ['--platform=systrap'], '', { seccomp });
      assert.equal(outcome(seen), 'blocker IsolationWeakened');
      assert.deepEqual(seen.evidence, [{ value: `process 189 "runsc-sandbox": Seccomp ${seccomp}` }]);
    });
  }

  it('is skipped without a gVisor sandbox', async () => {
    assert.equal(await outcomeOf(isolation, sourcesOf('kubeadm-ready')), 'skipped');
    const { flags: _, ...other } = witnessOf();
    assert.equal(await outcomeOf(isolation, sourcesOf('kubeadm-ready'), other), 'skipped');
  });

  it('is required for readiness', () => {
    assert.equal(isolation.required?.(sourcesOf('kubeadm-ready')), true);
  });
});
