import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type EvaluateOptions, evaluate } from '../../agent/evaluate.ts';
import { healthy, NEVER, RUNSC } from './healthy-node.ts';
import { askedPaths, processesAmong } from './host/asked-paths.ts';
import { ALL_HANG } from './proof/containerd-scripts.ts';
import { PROVEN, unproven } from './reports.ts';

describe('look', () => {
  it('gathers the facts that its checks learned, and the files that matter', async (t) => {
    const { options } = await healthy(t, async () => PROVEN);
    const { verdict, facts, watch } = await evaluate(options, NEVER);
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
    await evaluate(options, NEVER);
    assert.deepEqual(containerd.calls.toSorted(), ['PluginInfo', 'Status', 'Version']);
  });

  it('reads nothing of processes, so that it costs no more on a node that has thousands', async (t) => {
    const { options } = await healthy(t, async () => PROVEN);
    const asked = askedPaths(t, options.sources.host);
    await evaluate(options, NEVER);
    assert.ok(asked.includes('/proc/sys/kernel/osrelease'));
    assert.deepEqual(processesAmong(asked), []);
  });

  it('asks a containerd that hangs one question, and proves nothing', async (t) => {
    let proofs = 0;
    const prove = async () => {
      proofs += 1;
      return PROVEN;
    };
    const { containerd, options } = await healthy(t, prove, ALL_HANG);
    const { verdict, findings, proof } = await evaluate(options, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'CheckTimedOut']);
    assert.match(verdict.message, /^containerd's Version: no answer within 0\.3 s$/);
    assert.equal(proof.kind, 'inconclusive');
    assert.deepEqual([containerd.calls, proofs], [['Version'], 0]);
    const late = findings.filter((finding) => finding.status === 'unknown').map(({ check }) => check);
    assert.deepEqual(late, ['containerd', 'handler-loaded', 'handler-current']);
  });

  for (const kind of ['failed', 'stuck'] as const) {
    it(`names what broke while a proof ran that is then ${kind}`, async (t) => {
      const { containerd, options } = await healthy(t, async (root) => {
        await setTimeout(300); // the checks run beside the proof, and have looked by now
        await chmod(join(root, RUNSC), 0o644);
        return unproven(kind, kind === 'failed' ? 'SandboxFailed' : 'SandboxStuck');
      });
      const { verdict, findings } = await evaluate(options, NEVER);
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
      const { verdict, seenMs } = await evaluate({ ...options, now: () => clock.nowMs }, NEVER);
      assert.deepEqual([verdict.reason, seenMs], [broken ? 'RunscNotExecutable' : 'SandboxFailed', when]);
    }
  });

  const CONFIG_EDIT = { kind: 'file', path: '/etc/containerd/config.toml' } as const;
  const proofs: readonly [string, Partial<EvaluateOptions>, 'stands' | 'is made anew'][] = [
    ["only containerd's own configuration was edited", { triggers: [CONFIG_EDIT] }, 'stands'],
    [
      "gVisor's files changed as well",
      { triggers: [CONFIG_EDIT, { kind: 'file', path: RUNSC }] },
      'is made anew',
    ],
    [
      'containerd restarted after the edit',
      { triggers: [CONFIG_EDIT, { kind: 'containerd', is: 'gone' }] },
      'is made anew',
    ],
    [
      "gVisor's configuration beside it changed",
      { triggers: [{ kind: 'file', path: '/etc/containerd/runsc.toml' }] },
      'is made anew',
    ],
    ['time is up', { triggers: [{ kind: 'timer' }] }, 'is made anew'],
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
      const { verdict, proof } = await evaluate({ ...options, last: PROVEN, ...changes }, NEVER);
      assert.equal(verdict.reason, 'SandboxProven');
      assert.equal(proof, then === 'stands' ? PROVEN : again);
    });
  }

  it('lets no proof stand where a check sees a cause', async (t) => {
    const { options } = await healthy(t, async () => unproven('failed', 'SandboxFailed'));
    await chmod(join(options.sources.host.root, RUNSC), 0o644);
    const { verdict } = await evaluate({ ...options, last: PROVEN, triggers: [CONFIG_EDIT] }, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['False', 'RunscNotExecutable']);
  });

  it('lets no proof stand while containerd does not answer', async (t) => {
    const { options } = await healthy(t, async () => PROVEN, ALL_HANG);
    const { verdict } = await evaluate({ ...options, last: PROVEN, triggers: [CONFIG_EDIT] }, NEVER);
    assert.deepEqual([verdict.status, verdict.reason], ['Unknown', 'CheckTimedOut']);
  });

  it('looks no second time when the cause is known already', async (t) => {
    const { containerd, options } = await healthy(t, async () => unproven('failed', 'SandboxFailed'));
    await chmod(join(options.sources.host.root, RUNSC), 0o644);
    const { verdict } = await evaluate(options, NEVER);
    assert.equal(verdict.reason, 'RunscNotExecutable');
    assert.equal(containerd.calls.filter((method) => method === 'Version').length, 1);
  });

  it('rejects when its signal is aborted, and only then', async (t) => {
    const { options } = await healthy(t, async () => PROVEN, ALL_HANG);
    const stop = new AbortController();
    const looking = evaluate(options, stop.signal);
    stop.abort(new Error('stop'));
    await assert.rejects(looking, /^Error: stop$/);
  });
});
