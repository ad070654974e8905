import assert from 'node:assert/strict';
import { chmod, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { evaluate } from '../../agent/evaluate.ts';
import { witnessOf } from './checks/fake-node.ts';
import { healthy, NEVER, RUNSC } from './healthy-node.ts';
import { runCpus } from './host/cpu-times.ts';
import { PROVEN, unproven } from './reports.ts';

describe('look, by what a proof showed', () => {
  it('judges by what the proof of this very look showed', async (t) => {
    const witness = witnessOf({ flags: { platform: 'kvm', network: 'host' }, textPages: 1 });
    const { options } = await healthy(t, async () => ({ ...PROVEN, witness }));
    const { verdict, facts, findings } = await evaluate(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['False', 'IsolationWeakened']);
    assert.equal(facts.platform, 'kvm');
    // runsc was not seen to be what runs, so its release is taken back.
    assert.ok('runsc' in facts && facts.runsc === undefined);
    assert.equal(findings.filter(({ check }) => check === 'isolation').length, 1);
  });

  it('finds runsc beside a shim in a folder that only the first proof tells', async (t) => {
    const { options } = await healthy(t, async (root) => {
      await mkdir(join(root, 'opt/gvisor'), { recursive: true });
      await rename(join(root, RUNSC), join(root, 'opt/gvisor/runsc'));
      return { ...PROVEN, witness: witnessOf({ shim: '/opt/gvisor/containerd-shim-runsc-v1' }) };
    });
    const { facts, findings } = await evaluate(options, NEVER);
    assert.equal(facts.runsc, 'release-20260223.0');
    assert.equal(findings.find(({ check }) => check === 'runsc')?.status, 'pass');
  });

  for (const [reason, broken, compared] of [
    ['SandboxFailed', false, true],
    ['SandboxDied', false, true],
    ['SandboxFailed', true, false],
    ['RunscNotFound', false, false],
  ] as const)
    it(`compares ${reason} ${compared ? '' : 'not '}with runc where ${broken ? 'a file' : 'no file'} explains it`, async (t) => {
      const { options } = await healthy(t, async (root) => {
        if (broken) await chmod(join(root, RUNSC), 0o600);
        return unproven('failed', reason);
      });
      const { verdict } = await evaluate(
        { ...options, compare: async () => unproven('inconclusive', 'NodeExhausted') },
        NEVER,
      );
      assert.equal(verdict.reason === 'NodeExhausted', compared);
    });

  it('takes nothing for in force where no proof was made', async (t) => {
    const { options } = await healthy(t, async () => unproven('slow', 'SandboxSlow'));
    const { verdict, findings, facts } = await evaluate(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'SandboxSlow']);
    const isolation = findings.find(({ check }) => check === 'isolation');
    assert.ok(isolation?.status === 'skipped');
    assert.equal(facts.runsc, 'release-20260223.0');
  });

  for (const [reason, busy, excused] of [
    ['SandboxSlow', true, undefined],
    ['CheckTimedOut', true, true],
    ['ProbeInterrupted', true, true],
    ['ProbeInterrupted', false, undefined],
    ['ContainerdUnreachable', true, undefined],
  ] as const) {
    it(`${excused ? 'excuses' : 'does not excuse'} ${reason} on a ${busy ? 'busy' : 'calm'} node`, async (t) => {
      const { options } = await healthy(t, async () => unproven('inconclusive', reason));
      runCpus(t, options.sources.host, busy ? 0 : 90);
      const { verdict } = await evaluate(options, NEVER);
      assert.deepEqual([verdict.reason, verdict.tolerated], [reason, excused]);
    });
  }
});
