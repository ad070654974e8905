import assert from 'node:assert/strict';
import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Sources } from '../../../agent/checks/check.ts';
import { checkIsolation } from '../../../agent/checks/isolation.ts';
import { BaseSpecs } from '../../../agent/runsc/base-spec.ts';
import { checkFailed, type Evidence } from '../../../lib/checks/finding.ts';
import type { Witness } from '../../../lib/proof/witness.ts';
import { sentryFlags } from '../../../lib/runsc/flags.ts';
import { sandboxArgv } from '../../lib/host/fake-process.ts';
import {
  criWith,
  fakeCri,
  inspect,
  outcome,
  outcomeOf,
  sourcesOf,
  sourcesWith,
  witnessOf,
} from './fake-node.ts';

const cri = criWith({ options: { ConfigPath: '/r.toml' } });
const SOCKET = '/run/containerd/containerd.sock';
const ALL_PATTERN = ['dev.gvisor.*'];

/** Judges a sandbox with these flags in its arguments, and this configuration file. */
async function judge(t: TestContext, flags: readonly string[], toml = '', changes: Partial<Witness> = {}) {
  const argv = sandboxArgv('1f', flags);
  const inForce = Object.fromEntries(sentryFlags(argv) ?? []);
  const sources = await sourcesWith(t, { '/r.toml': toml }, { cri });
  return inspect(checkIsolation, sources, witnessOf({ argv, flags: inForce, ...changes }));
}

/** Judges a sandbox of a handler that passes on these annotations. */
function judgeHandler(podAnnotations: readonly string[], forbidFlagOverride: boolean, witness = witnessOf()) {
  return inspect(
    checkIsolation,
    sourcesOf('', { cri: criWith({ podAnnotations }), forbidFlagOverride }),
    witness,
  );
}

const places = (evidence: readonly Evidence[] = []) =>
  evidence.map(({ file, line, value }) => [file, line, value.split(':')[0]]);

describe('isolation', () => {
  it('passes a sandbox with default flags, regardless of the file', async (t) => {
    const result = await judge(t, ['--platform=systrap'], '[runsc_config]\nnetwork = "host"\n');
    assert.equal(outcome(result), 'pass');
    assert.deepEqual(result.evidence, [{ value: 'process 189 "runsc-sandbox", with a seccomp filter' }]);
  });

  it('blocks for a flag from a wrapper', async (t) => {
    const result = await judge(t, ['--network=host'], '[runsc_config]\nplatform = "systrap"\n');
    assert.equal(outcome(result), 'blocker IsolationWeakened');
    assert.deepEqual(places(result.evidence), [[undefined, undefined, 'network = "host"']]);
  });

  it('names every weakening flag with file and line, the worst first', async (t) => {
    const toml = '[runsc_config]\nnet-raw = "true"\nnetwork = "host"\n';
    const result = await judge(t, ['--net-raw', '--network=host'], toml);
    assert.equal(outcome(result), 'blocker IsolationWeakened');
    assert.match(result.message, /^Flags of runsc weaken the sandbox \(network=host, net-raw=true\): /);
    assert.deepEqual(places(result.evidence), [
      ['/r.toml', 3, 'network = "host"'],
      ['/r.toml', 2, 'net-raw = "true"'],
    ]);
  });

  it('warns of lesser flags, even if the file is invalid or unreadable', async (t) => {
    const invalid = await judge(t, ['--platform=ptrace'], '[runsc_config]\nnetwork = "ho');
    const sources = await sourcesWith(t, { '/r.toml/is-a-directory': '' }, { cri });
    const unreadable = await inspect(checkIsolation, sources, witnessOf({ flags: { platform: 'ptrace' } }));
    assert.deepEqual([invalid, unreadable].map(outcome), Array(2).fill('warning IsolationWeakened'));
  });

  it('warns of an unknown flag', async (t) => {
    const result = await judge(t, ['--next-year=1']);
    assert.equal(outcome(result), 'warning IsolationWeakened');
    assert.match(result.message, /^Flags of runsc may weaken the sandbox \(next-year=1\)/);
  });

  const WITH_ANNOTATIONS: readonly (readonly [Witness['flags'], forbidden: boolean, expected: string])[] = [
    [{}, false, 'warning AnnotationsPassFlags'],
    [{}, true, 'blocker AnnotationsPassFlags'],
    [{ network: 'host' }, false, 'blocker IsolationWeakened'],
    [{ network: 'host' }, true, 'blocker IsolationWeakened'],
    [{ 'net-raw': 'true' }, false, 'warning IsolationWeakened'],
    [{ 'net-raw': 'true' }, true, 'blocker AnnotationsPassFlags'],
  ];
  for (const [flags = {}, forbidden, expected] of WITH_ANNOTATIONS) {
    const [flag] = Object.keys(flags);
    it(`reports passed annotations${flag ? ` with ${flag}` : ''}, FORBID_FLAG_OVERRIDE ${forbidden}: ${expected}`, async () => {
      const result = await judgeHandler(ALL_PATTERN, forbidden, witnessOf({ flags }));
      assert.equal(outcome(result), expected);
      assert.match(result.message, /\(dev\.gvisor\.flag\.host-uds by the pattern "dev\.gvisor\.\*"\)/);
      assert.equal(/Flags of runsc weaken the sandbox/.test(result.message), flag !== undefined);
      assert.ok(result.evidence?.some(({ value }) => value.includes('dev.gvisor.spec.rootfs.source')));
    });
  }

  it('passes a handler that passes on only mount hints', async () =>
    assert.equal(outcome(await judgeHandler(['dev.gvisor.spec.mount.*'], true)), 'pass'));

  it('passes while the handler is unknown, unless FORBID_FLAG_OVERRIDE needs it', async () => {
    const silent = { cri: fakeCri(undefined) };
    assert.equal(await outcomeOf(checkIsolation, sourcesOf('', silent), witnessOf()), 'pass');
    const forbidden = sourcesOf('', { ...silent, forbidFlagOverride: true });
    await assert.rejects(outcomeOf(checkIsolation, forbidden, witnessOf()), /ECONNREFUSED/);
  });

  const SPECS: readonly (readonly [name: string, text: string, expected: string | RegExp])[] = [
    ['adds nothing', '{"mounts":[]}', 'pass'],
    ['binds the root', '{"mounts":[{"type":"bind","source":"/"}]}', 'blocker IsolationWeakened'],
    ['adds rights', '{"process":{"capabilities":{"bounding":["CAP_BPF"]}}}', 'warning IsolationWeakened'],
    ['is not JSON', '{"mounts":', /^Cannot judge base_runtime_spec "\/s.json": /],
  ];
  for (const [name, text, expected] of SPECS) {
    it(`judges a base spec that ${name}`, async (t) => {
      const specOf = { cri: criWith({ baseRuntimeSpec: '/s.json' }) };
      const sources = await sourcesWith(t, { '/s.json': text, [SOCKET]: '' }, specOf);
      const result = await inspect(checkIsolation, sources, witnessOf()).catch(checkFailed);
      if (typeof expected === 'string') assert.equal(outcome(result), expected);
      else assert.match(result.message, expected);
      // The file is watched, and an edit of it is judged at once.
      assert.equal(result.evidence?.at(-1)?.file, typeof expected === 'string' ? '/s.json' : undefined);
    });
  }

  it('judges the base spec that containerd has loaded, not the one on disk', async (t) => {
    const [plain, weak] = ['{"mounts":[]}', '{"mounts":[{"type":"bind","source":"/"}]}'];
    const sources = await sourcesWith(
      t,
      { '/s.json': weak, [SOCKET]: '' },
      { cri: criWith({ baseRuntimeSpec: '/s.json' }) },
    );
    const path = (name: string) => join(sources.host.root, name);
    const judged = async (changes: Partial<Sources> = {}) =>
      outcome(await inspect(checkIsolation, { ...sources, ...changes }, witnessOf()).catch(checkFailed));
    const changedMs = async (name: string) => (await stat(path(name))).ctimeMs;
    let newestMs = Math.max(await changedMs('/s.json'), await changedMs(SOCKET));
    // The kernel's clock of files ticks every few milliseconds, and each change here is later than all before.
    const rewrite = async (name: string, text: string) => {
      while ((await changedMs(name)) <= newestMs) await writeFile(path(name), text);
      newestMs = await changedMs(name);
    };
    const restart = () => rewrite(SOCKET, '');
    assert.equal(await judged(), 'blocker IsolationWeakened');
    await rewrite('/s.json', plain);
    assert.equal(await judged(), 'blocker IsolationWeakened');
    const { message } = await inspect(checkIsolation, sources, witnessOf());
    assert.match(message, /, until containerd restarts and reads what the file has become \(mount /);
    // Another agent has not read the file before.
    assert.equal(await judged({ baseSpecs: new BaseSpecs() }), 'unknown RestartPending');
    await restart();
    assert.equal(await judged(), 'pass');
    await rewrite('/s.json', weak);
    assert.equal(await judged(), 'pass');
    await rm(path('/s.json'));
    assert.equal(await judged(), 'pass');
    await restart();
    assert.equal(await judged(), 'unknown RestartPending');
    await rm(path(SOCKET));
    assert.equal(await judged(), 'unknown CheckFailed');
  });

  for (const seccomp of [0, 1, Number.NaN]) {
    it(`blocks for Seccomp ${seccomp}`, async (t) => {
      const result = await judge(t, ['--platform=systrap'], '', { seccomp });
      assert.equal(outcome(result), 'blocker IsolationWeakened');
      assert.deepEqual(result.evidence, [{ value: `process 189 "runsc-sandbox": Seccomp ${seccomp}` }]);
    });
  }

  it('is skipped without a gVisor sandbox', async () => {
    const { flags: _, ...other } = witnessOf();
    for (const witness of [undefined, other])
      assert.equal(await outcomeOf(checkIsolation, sourcesOf('kubeadm-ready'), witness), 'skipped');
  });
});
