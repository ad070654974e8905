import assert from 'node:assert/strict';
import { chmod, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { CAUSE_CHECKS } from '../../agent/checks/checks.ts';
import { type EvaluateOptions, evaluate, NodeEvaluator } from '../../agent/evaluate.ts';
import type { Prover } from '../../agent/proof/prover.ts';
import { parseConfig } from '../../agent/start/config.ts';
import type { Trigger } from '../../agent/trigger/event-queue.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { RunscPrograms } from '../../lib/runsc/program.ts';
import { mockCpuTimes } from '../lib/host/cpu-times.ts';
import { processesAmong, recordPaths } from '../lib/host/recorded-paths.ts';
import { mountedHost, tempHost } from '../lib/host/temp-host.ts';
import { ALL_HANG, type Script } from '../lib/proof/containerd-scripts.ts';
import { fakeContainerd } from '../lib/proof/fake-containerd.ts';
import { GVISOR_NODE_FILES, HANDLER_TOML } from '../lib/runsc/fake-runsc.ts';
import { criStatus, criWith, fakeCri, loadedRuntime, sourcesOf, witnessOf } from './checks/fake-node.ts';
import { PROVEN, unproven } from './reports.ts';

const NEVER = new AbortController().signal;
const CONFIG = '/etc/containerd/config.toml';
const RUNSC = '/usr/local/bin/runsc';
const FAILED = unproven('failed', 'SandboxFailed');

type Prove = (root: string) => Promise<Outcome>;

/** A healthy node, and the options of its evaluation with a scripted proof. */
async function healthy(t: TestContext, prove: Prove, scripts: Readonly<Record<string, Script>> = {}) {
  const responseMs = 'Version' in scripts ? 300 : 60_000;
  const { containerd, client } = await fakeContainerd(t, scripts, { responseMs });
  const host = await tempHost(t, GVISOR_NODE_FILES);
  const prover = { prove: () => prove(host.root), compare: async (failed: Outcome) => failed };
  const sources = sourcesOf('', { host, cri: client });
  const options: EvaluateOptions = { sources, prover, now: () => performance.now() };
  return { host, client, containerd, options };
}

/** The verdict of an evaluation as "False ShimNotFound". */
const brief = ({ status, reason }: Verdict) => `${status} ${reason}`;

const proves: Prove = async () => PROVEN;
const breakRunsc = (root: string) => chmod(join(root, RUNSC), 0o644);

describe('evaluate', () => {
  it('collects the facts of the checks, and the files to watch', async (t) => {
    const { options } = await healthy(t, proves);
    const { verdict, facts, watch } = await evaluate(options, NEVER);
    assert.equal(verdict.reason, 'SandboxProven');
    const { nvidiaDriver, gpu, ...known } = facts;
    assert.deepEqual(known, { containerd: 'v2.4.2', runsc: 'release-20260223.0', platform: 'systrap' });
    assert.deepEqual([nvidiaDriver, gpu], [undefined, undefined]);
    for (const path of [CONFIG, RUNSC, '/usr/local/sbin/runsc', '/usr/local/bin/gvisor-bin'])
      assert.ok(watch.includes(path), path);
  });

  it('sends each request to containerd once, and reads no processes', async (t) => {
    const { containerd, host, options } = await healthy(t, proves);
    const paths = recordPaths(t, host);
    await evaluate(options, NEVER);
    assert.deepEqual(containerd.calls.toSorted(), ['PluginInfo', 'Status', 'Version']);
    assert.ok(paths.includes('/proc/sys/kernel/osrelease'));
    assert.deepEqual(processesAmong(paths), []);
  });

  it('sends a hanging containerd a single request, and proves nothing', async (t) => {
    const prove = t.mock.fn(proves);
    const { containerd, options } = await healthy(t, prove, ALL_HANG);
    const { verdict, findings, proof } = await evaluate(options, NEVER);
    assert.equal(brief(verdict), 'Unknown CheckTimedOut');
    assert.match(verdict.message, /^containerd's Version: no answer within 0\.3 s$/);
    assert.equal(proof.kind, 'inconclusive');
    assert.deepEqual([containerd.calls, prove.mock.callCount()], [['Version'], 0]);
    const late = findings.filter((each) => each.status === 'unknown' && each.reason === 'CheckTimedOut');
    const checks = late.map(({ check }) => check);
    assert.deepEqual(checks, ['containerd', 'handler-loaded', 'handler-current', 'containers', 'network']);
  });

  it('rejects when its signal is aborted', async (t) => {
    const { options } = await healthy(t, proves, ALL_HANG);
    const stop = new AbortController();
    const evaluation = evaluate(options, stop.signal);
    stop.abort(new Error('stop'));
    await assert.rejects(evaluation, /^Error: stop$/);
  });

  for (const kind of ['failed', 'stuck'] as const) {
    it(`finds a cause that appeared during a proof that ${kind}`, async (t) => {
      let nowMs = 0;
      const now = t.mock.fn(() => nowMs);
      const { containerd, options } = await healthy(t, async (root) => {
        // The checks run beside the proof, and each reads the time when it begins and ends.
        while (now.mock.callCount() < 1 + 2 * CAUSE_CHECKS.length) await setImmediate();
        nowMs += 1_000;
        await breakRunsc(root);
        return unproven(kind, kind === 'failed' ? 'SandboxFailed' : 'SandboxStuck');
      });
      const evaluation = await evaluate({ ...options, now }, NEVER);
      assert.deepEqual([evaluation.verdict.reason, evaluation.seenMs], ['RunscNotExecutable', 1_000]);
      assert.equal(evaluation.findings.filter(({ check }) => check === 'runsc').length, 1);
      assert.equal(containerd.count('Version'), 2);
    });
  }

  for (const [reason, broken, seenMs] of [
    ['RunscNotExecutable', true, 0],
    ['SandboxFailed', false, 1_000],
  ] as const) {
    it(`dates ${reason} by ${broken ? 'its check, and does not repeat the checks' : 'the proof'}`, async (t) => {
      let nowMs = 0;
      const { containerd, host, options } = await healthy(t, async () => {
        nowMs += 1_000;
        return FAILED;
      });
      if (broken) await breakRunsc(host.root);
      const evaluation = await evaluate({ ...options, now: () => nowMs }, NEVER);
      assert.deepEqual([evaluation.verdict.reason, evaluation.seenMs], [reason, seenMs]);
      assert.equal(containerd.count('Version'), broken ? 1 : 2);
    });
  }

  const EDIT: Trigger = { kind: 'file', path: CONFIG };
  const RUNSC_CONFIG: Trigger = { kind: 'file', path: '/etc/containerd/runsc.toml' };
  for (const [when, changes, isReused] of [
    ["only containerd's own configuration was edited", { triggers: [EDIT] }, true],
    ["gVisor's files changed too", { triggers: [EDIT, { kind: 'file', path: RUNSC }] }, false],
    ['containerd restarted', { triggers: [EDIT, { kind: 'containerd', state: 'gone' }] }, false],
    ["gVisor's configuration changed", { triggers: [RUNSC_CONFIG] }, false],
    ['the interval is over', { triggers: [{ kind: 'timer' }] }, false],
    ['there is none', { triggers: [EDIT], last: undefined }, false],
    ['it failed', { triggers: [EDIT], last: FAILED }, false],
  ] as const satisfies readonly (readonly [string, Partial<EvaluateOptions>, boolean])[]) {
    it(`${isReused ? 'reuses' : 'does not reuse'} the last proof if ${when}`, async (t) => {
      const anew = { ...PROVEN };
      const { options } = await healthy(t, async () => anew);
      const { verdict, proof } = await evaluate({ ...options, last: PROVEN, ...changes }, NEVER);
      assert.equal(verdict.reason, 'SandboxProven');
      assert.equal(proof, isReused ? PROVEN : anew);
    });
  }

  it('does not reuse a proof if a check finds a cause, or containerd does not respond', async (t) => {
    const broken = await healthy(t, async () => FAILED);
    await breakRunsc(broken.host.root);
    const hanging = await healthy(t, proves, ALL_HANG);
    for (const [{ options }, reason] of [
      [broken, 'RunscNotExecutable'],
      [hanging, 'CheckTimedOut'],
    ] as const) {
      const { verdict } = await evaluate({ ...options, last: PROVEN, triggers: [EDIT] }, NEVER);
      assert.equal(verdict.reason, reason);
    }
  });

  it('judges by the evidence of this proof', async (t) => {
    const witness = witnessOf({ flags: { platform: 'kvm', network: 'host' }, textPages: 1 });
    const { options } = await healthy(t, async () => ({ ...PROVEN, witness }));
    const { verdict, facts, findings } = await evaluate(options, NEVER);
    assert.equal(brief(verdict), 'False IsolationWeakened');
    assert.equal(facts.platform, 'kvm');
    assert.ok('runsc' in facts && facts.runsc === undefined, 'the runsc on disk did not run');
    assert.equal(findings.filter(({ check }) => check === 'isolation').length, 1);
  });

  it('finds runsc beside the shim of the proof', async (t) => {
    const { options } = await healthy(t, async (root) => {
      await mkdir(join(root, 'opt/gvisor'), { recursive: true });
      await rename(join(root, RUNSC), join(root, 'opt/gvisor/runsc'));
      return { ...PROVEN, witness: witnessOf({ shim: '/opt/gvisor/containerd-shim-runsc-v1' }) };
    });
    const { facts, findings } = await evaluate(options, NEVER);
    assert.equal(facts.runsc, 'release-20260223.0');
    assert.equal(findings.find(({ check }) => check === 'runsc')?.status, 'pass');
  });

  it('skips the evidence checks without a sandbox', async (t) => {
    const { options } = await healthy(t, async () => unproven('slow', 'SandboxSlow'));
    const { verdict, findings, facts } = await evaluate(options, NEVER);
    assert.equal(brief(verdict), 'Unknown SandboxSlow');
    assert.equal(findings.find(({ check }) => check === 'isolation')?.status, 'skipped');
    assert.equal(facts.runsc, 'release-20260223.0');
  });

  for (const [reason, broken, isCompared] of [
    ['SandboxFailed', false, true],
    ['SandboxDied', false, true],
    ['SandboxFailed', true, false],
    ['RunscNotFound', false, false],
  ] as const) {
    it(`${isCompared ? 'compares' : 'does not compare'} ${reason} ${broken ? 'with a cause ' : ''}with runc`, async (t) => {
      const { host, options } = await healthy(t, async () => unproven('failed', reason));
      if (broken) await breakRunsc(host.root);
      const compare = async () => unproven('inconclusive', 'NodeExhausted');
      const { verdict } = await evaluate({ ...options, prover: { ...options.prover, compare } }, NEVER);
      assert.equal(verdict.reason === 'NodeExhausted', isCompared);
    });
  }

  const HANGS = unproven('failed', 'SandboxHangs');
  const ENDED = unproven('failed', 'SandboxFailed', 'waiting for sandbox to start: EOF');
  for (const [platform, outcome, expected, words] of [
    ['kvm', ENDED, 'False KvmRunsNoGuest', /kernel ends on the platform kvm/],
    ['kvm', HANGS, 'False KvmRunsNoGuest', /kernel hangs on the platform kvm/],
    ['kvm', unproven('slow', 'SandboxSlow'), 'Unknown SandboxSlow', /can hang if KVM runs no guest/],
    ['systrap', ENDED, 'False SandboxFailed', /^waiting/],
  ] as const) {
    it(`says ${expected} (${words.source}) on ${platform} for "${outcome.message}"`, async (t) => {
      const options = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: '/etc/containerd/runsc.toml' };
      const table = `[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc.options]`;
      const host = await tempHost(t, {
        ...GVISOR_NODE_FILES,
        [CONFIG]: `${HANDLER_TOML}${table}\nTypeUrl = '${options.TypeUrl}'\nConfigPath = '${options.ConfigPath}'\n`,
        [options.ConfigPath]: `[runsc_config]\nplatform = "${platform}"\n`,
        '/proc/misc': '232 kvm\n',
      });
      const prover: EvaluateOptions['prover'] = {
        prove: async () => outcome,
        compare: async (_, cleared) => cleared,
      };
      const sources = sourcesOf('', { host, cri: criWith({ options }) });
      const { verdict } = await evaluate({ sources, prover, now: () => performance.now() }, NEVER);
      assert.equal(brief(verdict), expected);
      assert.match(verdict.message, words);
    });
  }

  for (const [reason, isBusy, isTolerated] of [
    ['SandboxSlow', true, false],
    ['CheckTimedOut', true, true],
    ['ProbeInterrupted', true, true],
    ['ProbeInterrupted', false, false],
    ['ContainerdUnreachable', true, false],
  ] as const) {
    it(`${isTolerated ? 'tolerates' : 'does not tolerate'} ${reason} on ${isBusy ? 'a busy' : 'an idle'} node`, async (t) => {
      const { host, options } = await healthy(t, async () => unproven('inconclusive', reason));
      mockCpuTimes(t, host, isBusy ? 0 : 90);
      const { verdict } = await evaluate(options, NEVER);
      assert.deepEqual([verdict.reason, verdict.tolerated ?? false], [reason, isTolerated]);
    });
  }

  it('tolerates CheckTimedOut on an idle node whose containerd answers late', async (t) => {
    const { host, options } = await healthy(t, async () => unproven('inconclusive', 'CheckTimedOut'));
    mockCpuTimes(t, host, 90);
    const cri = { ...fakeCri(criStatus()), answersLate: true };
    const { verdict } = await evaluate({ ...options, sources: { ...options.sources, cri } }, NEVER);
    assert.equal(verdict.tolerated, true);
  });

  for (const [kind, reason, isCompared] of [
    ['stuck', 'SandboxStuck', true],
    ['inconclusive', 'CheckTimedOut', true],
    ['inconclusive', 'NodeExhausted', false],
  ] as const)
    it(`${isCompared ? 'compares' : 'does not compare'} ${reason} with runc`, async (t) => {
      const { options } = await healthy(t, async () => unproven(kind, reason));
      const compare = t.mock.fn(async (failed: Outcome) => failed);
      await evaluate({ ...options, prover: { ...options.prover, compare } }, NEVER);
      assert.equal(compare.mock.callCount(), Number(isCompared));
    });
});

describe('evaluate, if gVisor is outside the mounts of the agent', () => {
  /** Evaluates from a pod that mounts /etc, /usr and /proc of a node that has gVisor in /opt. */
  async function evaluateMounted(t: TestContext, proof: Outcome, runtimeOptions = {}) {
    const host = await mountedHost(t, ['etc', 'usr', 'proc'], { [CONFIG]: HANDLER_TOML });
    const runsc = loadedRuntime({ options: runtimeOptions });
    const sources = sourcesOf('', { host, cri: fakeCri(criStatus('v2.4.2', { runsc })) });
    const prover = { prove: async () => proof, compare: async (failed: Outcome) => failed };
    return evaluate({ sources, prover, now: () => performance.now() }, NEVER);
  }

  it('is ready by its proof, and names the missing mounts', async (t) => {
    const { verdict, findings } = await evaluateMounted(t, PROVEN, {
      TypeUrl: 'io.containerd.runsc.v1.options',
      ConfigPath: '/opt/gvisor/runsc.toml',
    });
    assert.equal(verdict.reason, 'SandboxProven');
    const config = findings.find(({ check }) => check === 'runsc-config');
    assert.ok(config?.status === 'unknown' && config.reason === 'NotVisible', JSON.stringify(config));
    assert.match(config.message, /"\/opt\/gvisor\/runsc\.toml".* mount the host's "\/opt" read-only at /);
  });

  it('does not blame a missing file for a sandbox that fails', async (t) => {
    const { verdict, findings } = await evaluateMounted(t, FAILED);
    assert.equal(verdict.reason, 'SandboxFailed');
    for (const check of ['shim', 'runsc']) {
      const finding = findings.find((each) => each.check === check);
      assert.equal(finding?.status, 'unknown', check);
      const hidden = finding?.evidence?.map(({ value }) => value).join('\n') ?? '';
      assert.match(hidden, /not visible, since the agent does not mount them: \/sbin .*\/opt\/bin /, check);
      assert.match(hidden, /looked in \/usr\/local\/sbin /, check);
    }
  });
});

describe('NodeEvaluator', () => {
  it('notifies the prover and others of a change before the first await, and knows the flags of the last sandbox', async (t) => {
    const { host, client } = await healthy(t, proves, ALL_HANG);
    const { config } = parseConfig({}, { hostname: 'node-1', inCluster: false });
    const distribution = { name: 'x', containerdConfig: CONFIG, criSocket: '/x', edit: '' };
    let [changes, noted] = [0, 0];
    const witness = witnessOf({ flags: { platform: 'kvm' } });
    const prover = { changed: () => changes++, witness, prove: proves } as unknown as Prover;
    const programs = new RunscPrograms();
    const [now, onChange] = [() => performance.now(), () => noted++];
    const evaluator = new NodeEvaluator({
      config,
      host,
      client,
      distribution,
      prover,
      programs,
      now,
      onChange,
    });
    for (const [trigger, expected] of [
      [{ kind: 'timer' }, 0],
      [{ kind: 'file', path: RUNSC }, 1],
    ] as const) {
      const evaluation = evaluator.evaluate(NEVER, [trigger], undefined);
      assert.deepEqual([changes, noted], [expected, expected]);
      await evaluation;
    }
    assert.deepEqual(evaluator.probeFlags, { handler: 'runsc', flags: { platform: 'kvm' } });
  });
});
