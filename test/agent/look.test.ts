import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type LookOptions, look } from '../../agent/look.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { sourcesOf, witnessOf } from './checks/fake-node.ts';
import { tempHost } from './host/temp-host.ts';
import { ALL_HANG, type Script } from './proof/containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './proof/fake-containerd.ts';
import { PROVEN, unproven } from './reports.ts';
import { fakeRunsc } from './runsc/fake-runsc.ts';

const NEVER = new AbortController().signal;
const RUNSC = '/usr/local/bin/runsc';
const FILES = {
  '/proc/sys/kernel/osrelease': '6.8.0\n',
  '/proc/sys/user/max_user_namespaces': '96365\n',
  '/etc/containerd/config.toml':
    "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]\nruntime_type = 'io.containerd.runsc.v1'\n",
  [RUNSC]: fakeRunsc(),
  '/usr/local/bin/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
};

/** A healthy node, and a look at it whose proof is what the test says. */
async function healthy(
  t: TestContext,
  prove: (root: string) => Promise<Outcome>,
  scripts: Readonly<Record<string, Script>> = {},
): Promise<{ readonly containerd: FakeContainerd; readonly options: LookOptions }> {
  const { containerd, client } = await fakeContainerd(t, scripts, { answerMs: 300 });
  const host = await tempHost(t, FILES);
  const sources = sourcesOf('', { host, cri: client });
  return { containerd, options: { sources, prove: () => prove(host.root), now: () => performance.now() } };
}

describe('look', () => {
  it('gathers the facts that its checks learned, and the files that matter', async (t) => {
    const { options } = await healthy(t, async () => PROVEN);
    const { verdict, facts, watch } = await look(options, NEVER);
    assert.equal(verdict.reason, 'SandboxProven');
    assert.deepEqual(facts, { containerd: 'v2.4.2', runsc: 'release-20260223.0', platform: 'systrap' });
    for (const path of [
      '/etc/containerd/config.toml',
      RUNSC,
      '/usr/local/sbin/runsc',
      '/usr/local/bin/gvisor-bin',
    ])
      assert.ok(watch.includes(path), path);
  });

  it('asks containerd each question once', async (t) => {
    const { containerd, options } = await healthy(t, async () => PROVEN);
    await look(options, NEVER);
    assert.deepEqual(containerd.calls.toSorted(), ['PluginInfo', 'Status', 'Version']);
  });

  it('asks a containerd that hangs one question, and proves nothing', async (t) => {
    let proofs = 0;
    const prove = async () => {
      proofs += 1;
      return PROVEN;
    };
    const { containerd, options } = await healthy(t, prove, ALL_HANG);
    const { verdict, findings, proof } = await look(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'CheckTimedOut']);
    assert.match(verdict.message, /^containerd's Version: no answer within 0\.3 s$/);
    assert.equal(proof.kind, 'impossible');
    assert.deepEqual([containerd.calls, proofs], [['Version'], 0]);
    const late = findings.filter((finding) => finding.status === 'unknown').map(({ check }) => check);
    assert.deepEqual(late, ['containerd', 'handler-loaded', 'handler-current', 'isolation', 'limits']);
  });

  for (const kind of ['failed', 'stuck'] as const) {
    it(`names what broke while a proof ran that is then ${kind}`, async (t) => {
      const { containerd, options } = await healthy(t, async (root) => {
        await chmod(join(root, RUNSC), 0o644);
        return unproven(kind, kind === 'failed' ? 'SandboxFailed' : 'SandboxStuck');
      });
      const { verdict, findings } = await look(options, NEVER);
      assert.equal(verdict.reason, 'RunscNotExecutable');
      assert.equal(findings.filter(({ check }) => check === 'runsc').length, 1);
      assert.equal(containerd.calls.filter((method) => method === 'Version').length, 2);
    });
  }

  it('says when it saw what decides: the checks before a proof, the proof after it', async (t) => {
    for (const [broken, when] of [
      [true, 0],
      [false, 1_000],
    ] as const) {
      const clock = { nowMs: 0 };
      const { options } = await healthy(t, async () => {
        clock.nowMs += 1_000;
        return unproven('failed', 'SandboxFailed');
      });
      if (broken) await chmod(join(options.sources.host.root, RUNSC), 0o644);
      const { verdict, seenMs } = await look({ ...options, now: () => clock.nowMs }, NEVER);
      assert.deepEqual([verdict.reason, seenMs], [broken ? 'RunscNotExecutable' : 'SandboxFailed', when]);
    }
  });

  const CONFIG_EDIT = 'file /etc/containerd/config.toml';
  const proofs: readonly [string, Partial<LookOptions>, 'stands' | 'is made anew'][] = [
    ['only containerd’s own configuration was edited', { triggers: [CONFIG_EDIT] }, 'stands'],
    ['gVisor’s files changed as well', { triggers: [CONFIG_EDIT, `file ${RUNSC}`] }, 'is made anew'],
    [
      'containerd restarted after the edit',
      { triggers: [CONFIG_EDIT, 'containerd is gone'] },
      'is made anew',
    ],
    [
      'gVisor’s configuration beside it changed',
      { triggers: ['file /etc/containerd/runsc.toml'] },
      'is made anew',
    ],
    ['time is up', { triggers: ['timer'] }, 'is made anew'],
    ['there is no proof that could stand', { triggers: [CONFIG_EDIT], last: undefined }, 'is made anew'],
    [
      'the last one failed',
      { triggers: [CONFIG_EDIT], last: unproven('failed', 'SandboxFailed') },
      'is made anew',
    ],
  ];
  for (const [when, changes, then] of proofs) {
    it(`when ${when}, the proof ${then}`, async (t) => {
      const again = { ...PROVEN };
      const { options } = await healthy(t, async () => again);
      const { verdict, proof } = await look({ ...options, last: PROVEN, ...changes }, NEVER);
      assert.equal(verdict.reason, 'SandboxProven');
      assert.equal(proof, then === 'stands' ? PROVEN : again);
    });
  }

  it('lets no proof stand where a check sees a cause', async (t) => {
    const { options } = await healthy(t, async () => unproven('failed', 'SandboxFailed'));
    await chmod(join(options.sources.host.root, RUNSC), 0o644);
    const { verdict } = await look({ ...options, last: PROVEN, triggers: [CONFIG_EDIT] }, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['False', 'RunscNotExecutable']);
  });

  it('lets no proof stand while containerd does not answer', async (t) => {
    const { options } = await healthy(t, async () => PROVEN, ALL_HANG);
    const { verdict } = await look({ ...options, last: PROVEN, triggers: [CONFIG_EDIT] }, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'CheckTimedOut']);
  });

  it('looks no second time when the cause is known already', async (t) => {
    const { containerd, options } = await healthy(t, async () => unproven('failed', 'SandboxFailed'));
    await chmod(join(options.sources.host.root, RUNSC), 0o644);
    const { verdict } = await look(options, NEVER);
    assert.equal(verdict.reason, 'RunscNotExecutable');
    assert.equal(containerd.calls.filter((method) => method === 'Version').length, 1);
  });

  it('rejects when its signal is aborted, and only then', async (t) => {
    const { options } = await healthy(t, async () => PROVEN, ALL_HANG);
    const stop = new AbortController();
    const looking = look(options, stop.signal);
    stop.abort(new Error('stop'));
    await assert.rejects(looking, /^Error: stop$/);
  });

  it('judges by what the proof of this very look showed', async (t) => {
    const witness = witnessOf({ flags: { platform: 'kvm', network: 'host' }, textPages: 1 });
    const { options } = await healthy(t, async () => ({ ...PROVEN, witness }));
    const { verdict, facts, findings } = await look(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['False', 'IsolationWeakened']);
    assert.equal(facts.platform, 'kvm');
    // runsc was not seen to be what runs, so its release is taken back.
    assert.ok('runsc' in facts && facts.runsc === undefined);
    assert.equal(findings.filter(({ check }) => check === 'isolation').length, 1);
  });

  it('takes nothing for in force where no proof was made', async (t) => {
    const { options } = await healthy(t, async () => unproven('slow', 'SandboxSlow'));
    const { verdict, findings, facts } = await look(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'SandboxSlow']);
    const isolation = findings.find(({ check }) => check === 'isolation');
    assert.ok(isolation?.status === 'unknown' && isolation.reason === 'NothingToJudge');
    assert.equal(facts.runsc, 'release-20260223.0');
  });

  for (const [triggers, changed] of [
    [['file /usr/local/bin/runsc'], true],
    [['timer', 'containerd is back'], true],
    [['timer'], false],
    [['confirm'], false],
    [['proof', 'timer'], false],
    [[], false],
  ] as const) {
    it(`tells the prover that something ${changed ? 'changed' : 'did not change'} for ${triggers.join(', ') || 'no word'}`, async (t) => {
      const { options } = await healthy(t, async () => PROVEN);
      const told: boolean[] = [];
      const prove: LookOptions['prove'] = async (_, each) => {
        told.push(each);
        return PROVEN;
      };
      await look({ ...options, prove, triggers }, NEVER);
      assert.deepEqual(told, [changed]);
    });
  }

  for (const [reason, busy, excused] of [
    ['SandboxSlow', true, true],
    ['SandboxSlow', false, undefined],
    ['CheckTimedOut', true, true],
    ['ContainerdUnreachable', true, undefined],
  ] as const) {
    it(`${excused ? 'excuses' : 'does not excuse'} ${reason} on a ${busy ? 'busy' : 'calm'} node`, async (t) => {
      const { options } = await healthy(t, async () => unproven('impossible', reason));
      const file = join(options.sources.host.root, 'proc/pressure/cpu');
      await mkdir(join(file, '..'), { recursive: true });
      await writeFile(file, `some avg10=${busy ? '97.00' : '0.00'} avg60=0.00 avg300=0.00 total=1\n`);
      const { verdict } = await look(options, NEVER);
      assert.deepEqual([verdict.reason, verdict.excused], [reason, excused]);
    });
  }
});
