import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Evaluation } from '../../agent/evaluate.ts';
import { skip, warning } from '../../agent/finding.ts';
import type { Report } from '../../agent/report.ts';
import { FileTrigger } from '../../agent/trigger/files.ts';
import type { Verdict } from '../../agent/verdict.ts';
import { agentOf, BROKEN, lookOf } from './agent-harness.ts';
import { tempHost } from './host/temp-host.ts';
import { finding, PROVEN, READY, verdictOf } from './reports.ts';

const DAY_MS = 86_400_000;
const NEVER_ENDS = () => Promise.withResolvers<Evaluation>().promise;
/** Resolves once the loop has gone as far as it can by itself. */
const settled = async () => {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
};

describe('Agent, when something stalls', () => {
  it('ends a look that does not end, and goes on', async (t) => {
    const looks = [READY, NEVER_ENDS, READY];
    const { agent, bell, lines, published, run } = await agentOf(t, looks, { evaluationTimeoutMs: 20 });
    void run();
    assert.equal(await bell.next({ kind: 'file', path: '/x' }), 5_001);
    assert.deepEqual(agent.report?.evaluation.verdict, {
      status: 'Unknown',
      reason: 'CheckTimedOut',
      message: 'the look failed: no end within 0.02 s',
    });
    assert.equal(agent.report?.verdict.reason, 'SandboxProven');
    assert.equal(lines.filter(({ msg }) => msg === 'look failed').length, 1);
    await bell.next();
    assert.deepEqual(
      published.map(({ evaluation }) => evaluation.verdict.reason),
      ['SandboxProven', 'CheckTimedOut', 'SandboxProven'],
    );
  });

  it('tolerates one on a busy node, as any other that is late', async (t) => {
    const excuse = async (verdict: Verdict) => ({ ...verdict, excused: true }) as const;
    const { agent, bell, clock, run } = await agentOf(t, [READY, NEVER_ENDS], {
      evaluationTimeoutMs: 20,
      markTolerated: excuse,
    });
    void run();
    for (const _ of [1, 2, 3]) {
      await bell.next();
      clock.nowMs += 60_000;
    }
    assert.equal(agent.report?.verdict.status, 'True');
  });

  it('aborts the signal of a look that does not end', async (t) => {
    let reason: unknown;
    const deaf = (signal: AbortSignal) => {
      signal.addEventListener('abort', () => {
        reason = signal.reason;
      });
      return NEVER_ENDS();
    };
    const { bell, run } = await agentOf(t, [deaf], { evaluationTimeoutMs: 20 });
    void run();
    await bell.waiting();
    assert.match(String(reason), /no end within 0\.02 s/);
  });

  it('is live as long as it turns when it should', async (t) => {
    const { agent, bell, clock, run } = await agentOf(t, [READY]);
    void run();
    const timeoutMs = (await bell.waiting()) ?? 0;
    clock.nowMs += timeoutMs + 59_999;
    assert.equal(agent.live, true);
    clock.nowMs += 2;
    assert.equal(agent.live, false);
    await bell.next({ kind: 'timer' });
    assert.equal(agent.live, true);
  });

  it('is no longer live soon after a round stalls, also with a proof a day', async (t) => {
    const begun = Promise.withResolvers<void>();
    const stalls = () => {
      begun.resolve();
      return NEVER_ENDS();
    };
    const { agent, bell, clock, run } = await agentOf(t, [READY, stalls], { proofIntervalMs: DAY_MS });
    assert.equal(agent.live, true);
    void run();
    assert.ok(((await bell.waiting()) ?? 0) >= 0.9 * DAY_MS);
    void bell.next({ kind: 'file', path: '/x' });
    await begun.promise;
    clock.nowMs += 90_000 + 59_999;
    assert.equal(agent.live, true);
    clock.nowMs += 2;
    assert.equal(agent.live, false);
  });

  it('is no longer live when its first round never ends', async (t) => {
    const { agent, clock, run } = await agentOf(t, [NEVER_ENDS]);
    void run();
    clock.nowMs += 149_999;
    assert.equal(agent.live, true);
    clock.nowMs += 2;
    assert.equal(agent.live, false);
  });

  it('does not wait for watches that are never set', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    class DeadTrigger extends FileTrigger {
      override watch() {
        return Promise.withResolvers<void>().promise;
      }
    }
    const files = new DeadTrigger(await tempHost(t), () => {});
    const { published, run } = await agentOf(t, [READY], { files });
    void run();
    await settled();
    t.mock.timers.tick(14_999);
    await settled();
    assert.equal(published.length, 0);
    t.mock.timers.tick(1);
    await settled();
    assert.equal(published.length, 1);
  });

  it('logs a round that fails, and goes on', async (t) => {
    let fails = true;
    const published: Report[] = [];
    const publish = (report: Report) => {
      if (fails) throw new Error('no such metric');
      published.push(report);
    };
    const { bell, lines, run } = await agentOf(t, [READY], { publishers: [{ publish }] });
    void run();
    await bell.waiting();
    const failed = lines.filter(({ msg }) => msg === 'round failed');
    assert.deepEqual(
      failed.map(({ err }) => (err as Error).message),
      ['no such metric'],
    );
    fails = false;
    await bell.next();
    assert.deepEqual([published.length, published[0]?.evaluation.trigger], [1, 'timer']);
  });

  it('keeps what a look could not tell again, and takes back what was seen to be so no longer', async (t) => {
    const facts: Evaluation['facts'][] = [
      { runsc: 'release-20260223.0', platform: 'kvm' },
      {},
      { containerd: 'v2.4.2' },
      { runsc: undefined },
    ];
    const looks = facts.map((each) => async () => ({ ...lookOf(READY, 0), facts: each }));
    const { bell, published, run } = await agentOf(t, looks);
    void run();
    for (const _ of facts.slice(1)) await bell.next({ kind: 'timer' });
    assert.deepEqual(
      published.map((report) => [report.facts.runsc, report.facts.platform, report.facts.containerd]),
      [
        ['release-20260223.0', 'kvm', undefined],
        ['release-20260223.0', 'kvm', undefined],
        ['release-20260223.0', 'kvm', 'v2.4.2'],
        [undefined, 'kvm', 'v2.4.2'],
      ],
    );
  });

  it('takes back what is known where the sandbox of a proof says otherwise, although no verdict follows from it', async (t) => {
    const looks = [
      async () => lookOf(READY, 0),
      async () => ({
        ...lookOf(verdictOf('Unknown', 'ReleaseUnknown'), 0),
        proof: PROVEN,
        facts: { runsc: undefined },
      }),
    ];
    const patience = { confirmMs: 500, graceMs: 0 };
    const { bell, published, run } = await agentOf(t, looks, { thresholds: patience });
    void run();
    await bell.next({ kind: 'timer' });
    assert.deepEqual(
      published.map(({ facts }) => facts.runsc),
      ['release-20260223.0', undefined],
    );
  });

  it('goes on saying what a check found, while a look has nothing to look at', async (t) => {
    const found = finding(warning('LimitsNotEnforced', 'outside'), 'limits');
    const nothing = finding(skip('No sandbox was started'), 'limits');
    const looks = [READY, verdictOf('Unknown', 'SandboxSlow'), BROKEN, BROKEN];
    const { bell, clock, counted, run } = await agentOf(
      t,
      looks.map((verdict) => async () => ({
        ...lookOf(verdict, clock.nowMs),
        findings: [verdict === READY ? found : nothing],
      })),
    );
    void run();
    for (const _ of looks.slice(1)) {
      clock.nowMs += 1_000;
      await bell.next({ kind: 'timer' });
    }
    assert.deepEqual(
      counted.map(({ findings }) => findings[0]?.status),
      ['fail', 'fail', 'fail', 'skipped'],
    );
  });

  it('takes back what a sandbox said only with a verdict that settles', async (t) => {
    // A wrapper chooses the platform, which no file tells; the release is that of the program which it runs.
    const sandbox = { runsc: 'release-20260223.0', platform: 'kvm' };
    const files = { runsc: undefined, platform: 'systrap', containerd: 'v2.4.2' };
    const verdicts = [READY, verdictOf('Unknown', 'SandboxSlow'), BROKEN, READY, BROKEN, BROKEN];
    const { bell, clock, published, run } = await agentOf(
      t,
      verdicts.map((verdict) => async () => ({
        ...lookOf(verdict, clock.nowMs),
        facts: verdict === READY ? sandbox : files,
      })),
    );
    void run();
    for (const _ of verdicts.slice(1)) {
      clock.nowMs += 1_000;
      await bell.next({ kind: 'timer' });
    }
    assert.deepEqual(
      published.map(({ facts }) => [facts.runsc, facts.platform, facts.containerd]),
      [
        ['release-20260223.0', 'kvm', undefined],
        ...Array(4).fill(['release-20260223.0', 'kvm', 'v2.4.2']),
        [undefined, 'systrap', 'v2.4.2'],
      ],
    );
  });

  it('lets a proof stand as long as the interval of proofs, by the monotonic clock', async (t) => {
    const stood: boolean[] = [];
    const { bell, clock, run } = await agentOf(t, [], {
      evaluate: async (_, __, standing) => {
        stood.push(standing !== undefined);
        return lookOf(READY, clock.nowMs);
      },
      // A wall clock that was set back says nothing.
      date: () => new Date(1_000_000 - clock.nowMs),
    });
    void run();
    for (const afterMs of [599_999, 600_000]) {
      await bell.waiting();
      clock.nowMs += afterMs;
      await bell.next({ kind: 'file', path: '/x' });
    }
    assert.deepEqual(stood, [false, true, false]);
  });
});
