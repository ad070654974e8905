import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Evaluation } from '../../agent/evaluate.ts';
import type { Report } from '../../agent/report.ts';
import { agentOf, BROKEN, lookOf, NEVER, UNSEEN } from './agent-harness.ts';
import { PASSED, READY } from './reports.ts';

const statuses = (reports: readonly Report[]) => reports.map(({ verdict }) => verdict.reason);

describe('Agent', () => {
  it('has no report before the first look has ended, and publishes the proof that it comes to', async (t) => {
    const { agent, bell, published, run } = await agentOf(t, [READY]);
    assert.deepEqual([agent.report], [undefined]);
    void run();
    const timeoutMs = (await bell.waiting()) ?? 0;
    assert.ok(timeoutMs >= 540_000 && timeoutMs <= 660_000, `${timeoutMs}`);
    assert.deepEqual(statuses(published), ['SandboxProven']);
    assert.equal(agent.report?.evaluation.trigger, 'start');
    assert.equal(agent.report?.provenAt, '1970-01-01T00:00:01.000Z');
    assert.deepEqual(agent.report?.facts, { architecture: 'x64', runsc: 'release-20260223.0' });
  });

  it('publishes nothing before a first failure is confirmed, and counts that look all the same', async (t) => {
    const { agent, bell, clock, published, counted, run } = await agentOf(t, [BROKEN]);
    void run();
    assert.equal(await bell.waiting(), 501);
    assert.deepEqual(published, []);
    assert.deepEqual(
      counted.map(({ evaluation }) => evaluation.verdict.reason),
      ['ShimNotFound'],
    );
    assert.deepEqual(
      [agent.report?.verdict.reason, agent.report?.evaluation.verdict.reason],
      ['AgentStarting', 'ShimNotFound'],
    );
    clock.nowMs += 499;
    assert.equal(await bell.next(), 2);
    assert.deepEqual(published, []);
    clock.nowMs += 1;
    await bell.next();
    assert.deepEqual(statuses(published), ['ShimNotFound']);
    assert.equal(agent.report?.evaluation.trigger, 'confirm');
  });

  it('counts the time to the second look from what the first has seen, not from its end', async (t) => {
    const slow = async (): Promise<Evaluation> => {
      const seenMs = clock.nowMs;
      clock.nowMs += 200;
      return lookOf(BROKEN, seenMs);
    };
    const { bell, clock, published, run } = await agentOf(t, [slow]);
    void run();
    assert.equal(await bell.waiting(), 301);
    clock.nowMs += 300;
    await bell.next();
    assert.deepEqual(statuses(published), ['ShimNotFound']);
  });

  it('publishes nothing while a starting agent cannot see, until the grace is over', async (t) => {
    const { bell, clock, published, run } = await agentOf(t, [UNSEEN]);
    void run();
    assert.equal(await bell.waiting(), 5_001);
    clock.nowMs += 59_999;
    assert.equal(await bell.next(), 2);
    assert.deepEqual(published, []);
    clock.nowMs += 1;
    assert.equal(await bell.next(), 30_001);
    assert.deepEqual(statuses(published), ['ContainerdUnreachable']);
  });

  it('lets a published verdict stand while another is unsettled, and says what the look alone came to', async (t) => {
    const { agent, bell, published, run } = await agentOf(t, [READY, BROKEN, UNSEEN, READY]);
    void run();
    for (const trigger of [
      { kind: 'file', path: '/usr/local/bin/runsc' },
      { kind: 'containerd', is: 'gone' },
      { kind: 'containerd', is: 'back' },
    ] as const)
      await bell.next(trigger);
    assert.deepEqual(statuses(published), Array(4).fill('SandboxProven'));
    assert.deepEqual(
      published.map(({ evaluation }) => `${evaluation.trigger}: ${evaluation.verdict.reason}`),
      [
        'start: SandboxProven',
        'file /usr/local/bin/runsc: ShimNotFound',
        'containerd is gone: ContainerdUnreachable',
        'containerd is back: SandboxProven',
      ],
    );
    assert.equal(agent.report?.history.length, 1);
  });

  it('keeps a history of what changed, the newest first, and no more than 50', async (t) => {
    const looks = Array.from({ length: 120 }, (_, index) => [READY, BROKEN, BROKEN][index % 3] ?? READY);
    const { agent, bell, clock, lines, run } = await agentOf(t, looks);
    void run();
    await bell.waiting();
    for (let look = 1; look < looks.length; look++) {
      clock.nowMs += 500;
      await bell.next();
    }
    const history = agent.report?.history ?? [];
    assert.equal(history.length, 50);
    assert.deepEqual(
      history.slice(0, 4).map(({ reason }) => reason),
      ['ShimNotFound', 'SandboxProven', 'ShimNotFound', 'SandboxProven'],
    );
    const times = history.map(({ at }) => Date.parse(at));
    assert.deepEqual(
      times,
      times.toSorted((a, b) => b - a),
    );
    assert.equal(lines.filter(({ msg }) => msg === 'verdict changed').length, 80);
  });

  it('takes a look that fails for one that could not see, and keeps what was known', async (t) => {
    const { agent, bell, clock, published, lines, run } = await agentOf(t, [READY, new Error('no memory')]);
    void run();
    assert.equal(await bell.next({ kind: 'timer' }), 5_001);
    assert.equal(agent.report?.verdict.reason, 'SandboxProven');
    assert.deepEqual(agent.report?.evaluation.verdict, {
      status: 'Unknown',
      reason: 'CheckFailed',
      message: 'the look failed: no memory',
    });
    assert.equal(agent.report?.facts.runsc, 'release-20260223.0');
    assert.deepEqual(agent.report?.findings, [PASSED]);
    assert.equal(lines.filter(({ msg }) => msg === 'look failed').length, 1);
    clock.nowMs += 60_000;
    await bell.next();
    assert.equal(published.at(-1)?.verdict.reason, 'CheckFailed');
  });

  it('does not call a proof new that stands since an earlier look', async (t) => {
    const look = lookOf(READY, 1_000);
    const { agent, bell, clock, run } = await agentOf(t, [async () => look]);
    void run();
    await bell.waiting();
    clock.nowMs += 5_000;
    await bell.next({ kind: 'file', path: '/etc/containerd/config.toml' });
    assert.deepEqual(
      [agent.report?.provenAt, agent.report?.evaluation.at],
      ['1970-01-01T00:00:01.000Z', '1970-01-01T00:00:06.000Z'],
    );
  });

  it('does not call it new after a look that saw nothing either', async (t) => {
    const look = lookOf(READY, 1_000);
    const { agent, bell, clock, run } = await agentOf(t, [async () => look, UNSEEN, async () => look]);
    void run();
    for (const _ of [1, 2]) {
      await bell.waiting();
      clock.nowMs += 5_000;
      await bell.next();
    }
    assert.equal(agent.report?.provenAt, '1970-01-01T00:00:01.000Z');
  });

  it('ends while it waits, and while it looks, without a verdict', async (t) => {
    const waits = await agentOf(t, [READY]);
    const waited = waits.run();
    await waits.bell.waiting();
    waits.stop.abort();
    await waited;
    assert.equal(waits.published.length, 1);

    const begun = Promise.withResolvers<void>();
    const hanging = (signal: AbortSignal) => {
      const { promise, reject } = Promise.withResolvers<Evaluation>();
      signal.addEventListener('abort', () => reject(signal.reason));
      begun.resolve();
      return promise;
    };
    const looks = await agentOf(t, [hanging]);
    const looked = looks.run();
    await begun.promise;
    looks.stop.abort();
    await looked;
    assert.deepEqual([looks.published, looks.agent.report, looks.lines], [[], undefined, []]);
  });

  it('rejects a single round that is aborted', async (t) => {
    const { agent } = await agentOf(t, [(signal) => Promise.reject(signal.reason)]);
    await assert.rejects(
      agent.reconcile([{ kind: 'start' }], AbortSignal.abort(new Error('stop'))),
      /^Error: stop$/,
    );
    const { agent: fine } = await agentOf(t, [READY]);
    assert.deepEqual((await fine.reconcile([{ kind: 'start' }], NEVER)).publish, READY);
  });
});
