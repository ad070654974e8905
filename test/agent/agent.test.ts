import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import { Agent, type AgentOptions } from '../../agent/agent.ts';
import { Announcer, type AnnouncerOptions } from '../../agent/announcer.ts';
import type { Evaluation } from '../../agent/evaluate.ts';
import { hasTraces } from '../../agent/expected.ts';
import type { Trigger } from '../../agent/trigger/event-queue.ts';
import { error, skip, unknown, warning } from '../../lib/checks/finding.ts';
import type { Installation } from '../../lib/host/installation.ts';
import type { Report } from '../../lib/report/report.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { finding, PASSED, PROVEN, PROVEN_VERDICT, unproven, verdictOf } from './reports.ts';
import { INSTALLATIONS } from './sample-installations.ts';

const BROKEN = verdictOf('False', 'ShimNotFound');
const UNREACHABLE = verdictOf('Unknown', 'ContainerdUnreachable');
const SLOW = verdictOf('Unknown', 'SandboxSlow');
const NEVER = new AbortController().signal;
const DAY_MS = 86_400_000;
const HANGS = () => Promise.withResolvers<Evaluation>().promise;

/** A queue whose waits end on `next`. */
class ManualQueue {
  #waiting = Promise.withResolvers<number>();
  #events = Promise.withResolvers<readonly Trigger[]>();

  async wait(timeoutMs: number, signal: AbortSignal): Promise<readonly Trigger[]> {
    signal.throwIfAborted();
    this.#waiting.resolve(timeoutMs);
    const aborted = Promise.withResolvers<never>();
    signal.addEventListener('abort', () => aborted.reject(signal.reason));
    return Promise.race([this.#events.promise, aborted.promise]);
  }

  /** Resolves with the timeout when the loop waits. */
  waiting(): Promise<number> {
    return this.#waiting.promise;
  }

  /** Ends the wait with an event, or with a timeout, and resolves with the next timeout. */
  async next(event?: Trigger): Promise<number> {
    await this.#waiting.promise;
    this.#waiting = Promise.withResolvers();
    const events = this.#events;
    this.#events = Promise.withResolvers();
    events.resolve(event === undefined ? [] : [event]);
    return this.waiting();
  }
}

function evaluationOf(verdict: Verdict, seenMs: number, changes: Partial<Evaluation> = {}): Evaluation {
  const proof = verdict.status === 'True' ? { ...PROVEN } : unproven('inconclusive', verdict.reason);
  const facts = { runsc: 'release-20260223.0' };
  return { verdict, seenMs, findings: [PASSED], proof, facts, watch: [], ...changes };
}

/** An evaluation with its facts, and runsc, platform and containerd as published after it. */
type FactsRow = readonly [
  Verdict,
  Evaluation['facts'],
  published: readonly (string | undefined)[],
  proof?: Evaluation['proof'],
];
type Scripted = Verdict | Error | ((signal: AbortSignal) => Promise<Evaluation>);
type Changes = Partial<Omit<AgentOptions, 'evaluator'>> & {
  readonly thresholds?: Partial<AgentOptions['config']>;
  readonly announced?: Partial<AnnouncerOptions>;
  readonly evaluator?: Partial<AgentOptions['evaluator']>;
};

/** An agent whose evaluations are scripted; the last one repeats. */
function agentOf(
  t: TestContext,
  script: readonly Scripted[],
  { thresholds, announced, evaluator, ...changes }: Changes = {},
) {
  const queue = new ManualQueue();
  const clock = { nowMs: 1_000 };
  const published: Report[] = [];
  const counted: Report[] = [];
  const lines: Record<string, unknown>[] = [];
  let evaluations = 0;
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const date = () => new Date(clock.nowMs);
  const announcer = new Announcer({
    expectGvisor: false,
    traces: hasTraces,
    count: (report) => counted.push(report),
    show: (report) => published.push(report),
    write: () => {},
    log,
    date,
    ...announced,
  });
  const agent = new Agent({
    version: '0.1.0',
    config: {
      nodeName: 'node-1',
      handler: 'runsc',
      confirmMs: 500,
      graceMs: 60_000,
      proofIntervalMs: 600_000,
      ...thresholds,
    },
    facts: { architecture: 'x64' },
    announcer,
    evaluator: {
      evaluate: async (signal) => {
        const scripted = script[Math.min(evaluations++, script.length - 1)];
        if (scripted === undefined || scripted instanceof Error) throw scripted;
        return typeof scripted === 'function' ? scripted(signal) : evaluationOf(scripted, clock.nowMs);
      },
      markTolerated: async (verdict) => verdict,
      ...evaluator,
    },
    log,
    now: () => clock.nowMs,
    date,
    ...changes,
  });
  const stop = new AbortController();
  const run = () => {
    const done = agent.run(queue, stop.signal);
    t.after(async () => {
      stop.abort();
      await done;
    });
    return done;
  };
  const logged = (message: string) => lines.filter(({ msg }) => msg === message);
  return { agent, announcer, queue, clock, published, counted, lines, logged, stop, run };
}

/** An {@link agentOf} that runs as soon as the test has its parts, which the script may use. */
function running(...args: Parameters<typeof agentOf>) {
  const all = agentOf(...args);
  queueMicrotask(() => void all.run());
  return all;
}

const reasons = (reports: readonly Report[]) => reports.map(({ verdict }) => verdict.reason);
const evaluated = (reports: readonly Report[]) =>
  reports.map(({ evaluation }) => `${evaluation.trigger}: ${evaluation.verdict.reason}`);

describe('Agent publishes', () => {
  it('a proof at once', async (t) => {
    const { announcer, queue, published, run } = agentOf(t, [PROVEN_VERDICT]);
    assert.deepEqual([announcer.report, announcer.hasVerdict], [undefined, false]);
    void run();
    const timeoutMs = await queue.waiting();
    assert.ok(timeoutMs >= 540_000 && timeoutMs <= 660_000, `${timeoutMs}`);
    assert.deepEqual(reasons(published), ['SandboxProven']);
    assert.equal(announcer.hasVerdict, true);
    assert.equal(announcer.report?.evaluation.trigger, 'start');
    assert.equal(announcer.report?.provenAt, '1970-01-01T00:00:01.000Z');
    assert.deepEqual(announcer.report?.facts, { architecture: 'x64', runsc: 'release-20260223.0' });
  });

  it('a first failure only once it is confirmed, and counts the evaluation before', async (t) => {
    const { announcer, queue, clock, published, counted } = running(t, [BROKEN]);
    assert.equal(await queue.waiting(), 501);
    assert.deepEqual(
      [published, evaluated(counted), announcer.hasVerdict],
      [[], ['start: ShimNotFound'], false],
    );
    assert.equal(announcer.report?.verdict.reason, 'AgentStarting');
    clock.nowMs += 499;
    assert.equal(await queue.next(), 2);
    assert.deepEqual(published, []);
    clock.nowMs += 1;
    await queue.next();
    assert.deepEqual(reasons(published), ['ShimNotFound']);
    assert.equal(announcer.report?.evaluation.trigger, 'confirm');
    const timeoutMs = await queue.waiting();
    assert.ok(timeoutMs >= 54_000 && timeoutMs <= 66_000, `${timeoutMs}: soon again while not ready`);
  });

  it('a failure confirmMs after it was seen, not after the evaluation ended', async (t) => {
    const slow = async () => {
      const seenMs = clock.nowMs;
      clock.nowMs += 200;
      return evaluationOf(BROKEN, seenMs);
    };
    const { queue, clock, published } = running(t, [slow]);
    assert.equal(await queue.waiting(), 301);
    clock.nowMs += 300;
    await queue.next();
    assert.deepEqual(reasons(published), ['ShimNotFound']);
  });

  it('the previous verdict with each evaluation that does not change it', async (t) => {
    const script = [PROVEN_VERDICT, BROKEN, UNREACHABLE, PROVEN_VERDICT];
    const { announcer, queue, published } = running(t, script);
    await queue.next({ kind: 'file', path: '/usr/local/bin/runsc' });
    await queue.next({ kind: 'containerd', state: 'gone' });
    await queue.next({ kind: 'containerd', state: 'back' });
    assert.deepEqual(reasons(published), Array(4).fill('SandboxProven'));
    assert.deepEqual(evaluated(published), [
      'start: SandboxProven',
      'file /usr/local/bin/runsc: ShimNotFound',
      'containerd is gone: ContainerdUnreachable',
      'containerd is back: SandboxProven',
    ]);
    assert.equal(announcer.report?.history.length, 1);
  });

  it('a history of the last 50 transitions, newest first', async (t) => {
    const script = Array.from({ length: 40 }, () => [PROVEN_VERDICT, BROKEN, BROKEN]).flat();
    const { announcer, queue, clock, logged } = running(t, script);
    for (let count = 1; count < script.length; count++) {
      await queue.waiting();
      clock.nowMs += 500;
      await queue.next();
    }
    const history = announcer.report?.history ?? [];
    assert.equal(history.length, 50);
    const latest = history.slice(0, 4).map(({ reason }) => reason);
    assert.deepEqual(latest, ['ShimNotFound', 'SandboxProven', 'ShimNotFound', 'SandboxProven']);
    const times = history.map(({ at }) => at);
    assert.deepEqual(times, times.toSorted().reverse());
    assert.equal(logged('verdict changed').length, 80);
    for (const { status, level } of logged('verdict changed'))
      assert.equal(level, status === 'True' ? 30 : 40);
  });

  it('the next report after a publisher failed', async (t) => {
    let fails = true;
    const published: Report[] = [];
    const publish = (report: Report) => {
      if (fails) throw new Error('no such metric');
      published.push(report);
    };
    const { queue, logged } = running(t, [PROVEN_VERDICT], { announced: { show: publish } });
    await queue.waiting();
    const errors = logged('reconcile failed').map(({ err }) => (err as Error).message);
    assert.deepEqual(errors, ['no such metric']);
    fails = false;
    await queue.next();
    assert.deepEqual(evaluated(published), ['timer: SandboxProven']);
  });
});

describe('Agent remembers', () => {
  it('the time of a proof while evaluations reuse it, also after an inconclusive one', async (t) => {
    const valid = evaluationOf(PROVEN_VERDICT, 1_000);
    const reuse = async () => valid;
    const { announcer, queue, clock } = running(t, [reuse, reuse, UNREACHABLE, reuse]);
    for (const at of ['06', '11', '16']) {
      await queue.waiting();
      clock.nowMs += 5_000;
      await queue.next({ kind: 'file', path: '/etc/containerd/config.toml' });
      assert.equal(announcer.report?.provenAt, '1970-01-01T00:00:01.000Z');
      assert.equal(announcer.report?.evaluation.at, `1970-01-01T00:00:${at}.000Z`);
    }
  });

  it('a proof for one interval of the monotonic clock', async (t) => {
    const reused: boolean[] = [];
    const { queue, clock, run } = agentOf(t, [], {
      evaluator: {
        evaluate: async (_, __, last) => {
          reused.push(last !== undefined);
          return evaluationOf(PROVEN_VERDICT, clock.nowMs);
        },
      },
      date: () => new Date(1_000_000 - clock.nowMs), // a wall clock that is set back must not matter
    });
    void run();
    for (const afterMs of [599_999, 600_000]) {
      await queue.waiting();
      clock.nowMs += afterMs;
      await queue.next({ kind: 'file', path: '/x' });
    }
    assert.deepEqual(reused, [false, true, false]);
  });

  it('when it was made, so that the next boot comes in time although it is reused', async (t) => {
    const valid = evaluationOf(PROVEN_VERDICT, 1_000);
    const { queue, clock } = running(t, [async () => valid]);
    for (const [afterMs, min, max] of [
      [0, 540_000, 660_000],
      [500_000, 40_000, 160_000],
      [99_000, 1, 61_000],
    ] as const) {
      clock.nowMs += afterMs;
      const timeoutMs =
        afterMs === 0
          ? await queue.waiting()
          : await queue.next({ kind: 'file', path: '/etc/containerd/config.toml' });
      assert.ok(timeoutMs >= min && timeoutMs <= max, `${timeoutMs} after ${clock.nowMs}`);
    }
  });

  it('how long a node has been broken, and evaluates it less and less often until something changes', async (t) => {
    t.mock.method(Math, 'random', () => 0.5);
    const { queue, clock } = running(t, [BROKEN]);
    await queue.waiting();
    clock.nowMs += 500;
    let pauseMs = await queue.next();
    const pauses: number[] = [];
    for (const trigger of [...Array(14).fill(undefined), { kind: 'file', path: '/x' }, undefined]) {
      pauses.push(pauseMs / 1_000);
      clock.nowMs += pauseMs;
      pauseMs = await queue.next(trigger);
    }
    const rounded = pauses.map(Math.round);
    assert.deepEqual(rounded, [60, 60, 60, 60, 60, 75, 94, 117, 146, 183, 229, 286, 358, 447, 559, 60]);
  });

  it('a finding while the check is skipped, until a verdict is published', async (t) => {
    const found = finding(warning('LimitsNotEnforced', 'outside'), 'limits');
    const skipped = finding(skip('No sandbox was started'), 'limits');
    const script = [PROVEN_VERDICT, SLOW, BROKEN, BROKEN].map((verdict) => async () => {
      clock.nowMs += 1_000;
      return evaluationOf(verdict, clock.nowMs, { findings: [verdict === PROVEN_VERDICT ? found : skipped] });
    });
    const { queue, clock, counted } = running(t, script);
    for (const _ of script.slice(1)) await queue.next({ kind: 'timer' });
    const statuses = counted.map(({ findings }) => findings[0]?.status);
    assert.deepEqual(statuses, ['fail', 'fail', 'fail', 'skipped']);
  });

  // Behind a wrapper script the files name another platform and release than the sandbox.
  const sandbox = { runsc: 'r1', platform: 'kvm' };
  const files = { runsc: undefined, platform: 'systrap', containerd: 'v2.4.2' };
  const ALL = ['r1', 'kvm', 'v2.4.2'];
  const FIRST: FactsRow = [PROVEN_VERDICT, sandbox, ['r1', 'kvm', undefined]];
  const LATER: Readonly<Record<string, readonly [graceMs: number, ...FactsRow[]]>> = {
    'facts until they are replaced': [
      60_000,
      [PROVEN_VERDICT, {}, ['r1', 'kvm', undefined]],
      [PROVEN_VERDICT, { containerd: 'v2.4.2' }, ALL],
      [PROVEN_VERDICT, { runsc: undefined }, [undefined, 'kvm', 'v2.4.2']],
    ],
    'facts of a sandbox until another verdict is published': [
      60_000,
      [SLOW, files, ALL],
      [BROKEN, files, ALL],
      [PROVEN_VERDICT, sandbox, ALL],
      [BROKEN, files, ALL],
      [BROKEN, files, [undefined, 'systrap', 'v2.4.2']],
    ],
    'facts of the latest sandbox, even if its verdict is Unknown': [
      0,
      [verdictOf('Unknown', 'ReleaseUnknown'), { runsc: undefined }, [undefined, 'kvm', undefined], PROVEN],
    ],
  };
  for (const [what, [graceMs, ...later]] of Object.entries(LATER))
    it(what, async (t) => {
      const rows = [FIRST, ...later];
      const script = rows.map(([verdict, facts, , proof]) => async () => {
        clock.nowMs += 1_000;
        return evaluationOf(verdict, clock.nowMs, { facts, ...(proof && { proof }) });
      });
      const { queue, clock, published } = running(t, script, { thresholds: { graceMs } });
      for (const _ of later) await queue.next({ kind: 'timer' });
      const facts = published.map(({ facts }) => [facts.runsc, facts.platform, facts.containerd]);
      const expected = rows.map(([, , facts]) => facts);
      assert.deepEqual(facts, expected);
    });
});

describe('Agent, when an evaluation fails or hangs', () => {
  for (const [what, script, evaluation] of [
    ['an error', new Error('no memory'), ['CheckFailed', 'the evaluation failed: no memory']],
    ['a timeout', HANGS, ['CheckTimedOut', 'the evaluation failed: timed out after 0.02 s']],
  ] as const) {
    it(`turns ${what} into Unknown, and keeps the verdict, facts and findings`, async (t) => {
      const { announcer, queue, clock, logged } = running(t, [PROVEN_VERDICT, script], {
        evaluationTimeoutMs: 20,
      });
      assert.equal(await queue.next({ kind: 'file', path: '/x' }), 5_001);
      assert.equal(announcer.report?.verdict.reason, 'SandboxProven');
      const { status, reason, message } = announcer.report?.evaluation.verdict ?? {};
      assert.deepEqual([status, reason, message], ['Unknown', ...evaluation]);
      assert.equal(announcer.report?.facts.runsc, 'release-20260223.0');
      assert.deepEqual(announcer.report?.findings, [PASSED]);
      assert.equal(logged('evaluation failed').length, 1);
      clock.nowMs += 60_000;
      await queue.next();
      assert.equal(announcer.report?.verdict.reason, evaluation[0]);
    });
  }

  it('tolerates a timeout on a busy node', async (t) => {
    const { announcer, queue, clock } = running(t, [PROVEN_VERDICT, HANGS], {
      evaluationTimeoutMs: 20,
      evaluator: { markTolerated: async (verdict) => ({ ...verdict, tolerated: true }) },
    });
    for (const _ of [1, 2, 3]) {
      await queue.next();
      clock.nowMs += 60_000;
    }
    assert.equal(announcer.report?.verdict.status, 'True');
  });

  it('aborts the signal of an evaluation that hangs', async (t) => {
    let reason: unknown;
    const hangs = (signal: AbortSignal) => {
      signal.addEventListener('abort', () => {
        reason = signal.reason;
      });
      return HANGS();
    };
    const { queue } = running(t, [hangs], { evaluationTimeoutMs: 20 });
    await queue.waiting();
    assert.match(String(reason), /timed out after 0\.02 s/);
  });

  it('is live until it is a minute behind schedule', async (t) => {
    const { agent, queue, clock } = running(t, [PROVEN_VERDICT]);
    clock.nowMs += (await queue.waiting()) + 59_999;
    assert.equal(agent.live, true);
    clock.nowMs += 2;
    assert.equal(agent.live, false);
    await queue.next({ kind: 'timer' });
    assert.equal(agent.live, true);
  });

  for (const [what, script] of [
    ['the first evaluation', [HANGS]],
    ['a later one, with a proof a day', [PROVEN_VERDICT, HANGS]],
  ] as const) {
    it(`is not live 150 s after the start of ${what} that hangs`, async (t) => {
      const { agent, queue, clock, run } = agentOf(t, script, { thresholds: { proofIntervalMs: DAY_MS } });
      assert.equal(agent.live, true);
      void run();
      if (script.length > 1) {
        assert.ok((await queue.waiting()) >= 0.9 * DAY_MS);
        void queue.next({ kind: 'file', path: '/x' });
        for (let turns = 0; turns < 20; turns++) await setImmediate();
      }
      clock.nowMs += 149_999;
      assert.equal(agent.live, true);
      clock.nowMs += 2;
      assert.equal(agent.live, false);
    });
  }

  it('waits 15 s for watches before it publishes', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const watch = () => Promise.withResolvers<void>().promise;
    const { published } = running(t, [PROVEN_VERDICT], { files: { watch } });
    const counts: number[] = [];
    for (const ms of [14_999, 1]) {
      for (let turns = 0; turns < 20; turns++) await setImmediate();
      t.mock.timers.tick(ms);
      for (let turns = 0; turns < 20; turns++) await setImmediate();
      counts.push(published.length);
    }
    assert.deepEqual(counts, [0, 1]);
  });

  it('returns when it is aborted, without a verdict from the running evaluation', async (t) => {
    const waiting = agentOf(t, [PROVEN_VERDICT]);
    const waited = waiting.run();
    await waiting.queue.waiting();
    waiting.stop.abort();
    await waited;
    assert.equal(waiting.published.length, 1);

    const begun = Promise.withResolvers<void>();
    const evaluating = agentOf(t, [
      (signal) => {
        begun.resolve();
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    ]);
    const ended = evaluating.run();
    await begun.promise;
    evaluating.stop.abort();
    await ended;
    const { published, announcer, lines } = evaluating;
    assert.deepEqual([published, announcer.report, lines], [[], undefined, []]);
  });

  it('rejects a single reconcile that is aborted', async (t) => {
    const { agent } = agentOf(t, [(signal) => Promise.reject(signal.reason)]);
    const aborted = AbortSignal.abort(new Error('stop'));
    await assert.rejects(agent.reconcile([{ kind: 'start' }], aborted), /^Error: stop$/);
    const { agent: ready } = agentOf(t, [PROVEN_VERDICT]);
    assert.deepEqual((await ready.reconcile([{ kind: 'start' }], NEVER)).publish, PROVEN_VERDICT);
  });
});

describe('Agent during an installation', () => {
  const { atWork: AT_WORK, done: DONE } = INSTALLATIONS;
  const FAST = { confirmMs: 0 };

  /** An agent whose journal says what `journal.now` has. */
  function installing(t: TestContext, script: readonly Scripted[], first?: Installation) {
    const journal: { now: Installation | undefined } = { now: first };
    return {
      journal,
      ...running(t, script, { thresholds: FAST, installation: async () => journal.now }),
    };
  }

  it('names it from its first step to the evaluation after its end, and nothing else between', async (t) => {
    const { agent, announcer, queue, journal, published, logged } = installing(t, [
      BROKEN,
      BROKEN,
      PROVEN_VERDICT,
    ]);
    await queue.next();
    assert.deepEqual(reasons(published), ['ShimNotFound']);
    journal.now = AT_WORK;
    assert.equal(await agent.noteInstallation(), false);
    journal.now = DONE;
    assert.equal(await agent.noteInstallation(), true);
    assert.deepEqual(announcer.report?.installation, AT_WORK);
    await queue.next({ kind: 'file', path: '/usr/local/lib/gvisor/install-runsc.json' });
    assert.deepEqual(reasons(published), ['ShimNotFound', 'InstallationUnderWay', 'SandboxProven']);
    assert.deepEqual(announcer.report?.installation, DONE);
    assert.equal(logged('verdict changed').length, 3);
    const history = announcer.report?.history.map(({ reason }) => reason);
    assert.deepEqual(history, ['SandboxProven', 'InstallationUnderWay', 'ShimNotFound']);
  });

  it('does not show what an evaluation saw that began before its end', async (t) => {
    const ended = Promise.withResolvers<void>();
    const slow = async () => {
      await ended.promise;
      return evaluationOf(BROKEN, clock.nowMs);
    };
    const script = [BROKEN, BROKEN, slow, PROVEN_VERDICT];
    const { agent, queue, clock, journal, published } = installing(t, script, AT_WORK);
    await queue.next();
    const late = queue.next({ kind: 'containerd', state: 'back' });
    await setImmediate();
    journal.now = DONE;
    assert.equal(await agent.noteInstallation(), true);
    ended.resolve();
    await late;
    await queue.next();
    assert.deepEqual(reasons(published), ['InstallationUnderWay', 'InstallationUnderWay', 'SandboxProven']);
  });

  it('evaluates a proven node more often while it lasts', async (t) => {
    const { queue } = installing(t, [PROVEN_VERDICT], AT_WORK);
    const timeoutMs = await queue.waiting();
    assert.ok(timeoutMs <= 66_000, `${timeoutMs}`);
  });
});

describe('Agent, told what the Node says', () => {
  const seen = { boot: 'boot-2', provenOnce: false };

  it('has each cause in its history and its log once, and the proof again when they have gone', async (t) => {
    const { announcer, queue, published, logged } = running(t, [PROVEN_VERDICT]);
    await queue.next();
    const unguarded = { ...seen, unguarded: true };
    const rebooted = { ...seen, reportedBoot: 'boot-1' };
    const said = [unguarded, unguarded, rebooted, seen].map((node) => announcer.say(node).verdict.reason);
    assert.deepEqual(said, ['WritesUnguarded', 'WritesUnguarded', 'NodeRebooted', 'SandboxProven']);
    assert.deepEqual(reasons(published.slice(-4)), said);
    const history = announcer.report?.history.map(({ reason }) => reason);
    assert.deepEqual(history, ['SandboxProven', 'NodeRebooted', 'WritesUnguarded', 'SandboxProven']);
    assert.equal(logged('verdict changed').length, 4);
  });

  const NOTHING = [
    finding(error('HandlerNotConfigured', ''), 'handler-configured'),
    finding(error('HandlerNotLoaded', ''), 'handler-loaded'),
  ];
  const BARE = { ...evaluationOf(BROKEN, 0), findings: NOTHING };
  const SILENT = { ...BARE, findings: [finding(unknown('ContainerdUnreachable', ''), 'handler-loaded')] };

  it('says whether gVisor is expected: proven once, a part of it there, or set', async (t) => {
    for (const [first, provenOnce, expectGvisor, expected] of [
      [BARE, undefined, false, undefined],
      [BARE, false, false, false],
      [BARE, true, false, true],
      [BARE, false, true, true],
      [SILENT, false, false, undefined],
      [PROVEN_VERDICT, false, false, true],
    ] as const) {
      const script = ['verdict' in first ? async () => first : first];
      const { announcer, queue } = running(t, script, { announced: { expectGvisor } });
      await queue.next();
      if (provenOnce !== undefined) announcer.say({ ...seen, provenOnce });
      assert.equal(announcer.report?.expected, expected);
    }
  });

  it('keeps what it knows while containerd does not answer', async (t) => {
    const { announcer, queue } = running(t, [async () => BARE, async () => SILENT]);
    announcer.say(seen);
    await queue.next();
    await queue.next();
    assert.equal(announcer.report?.expected, false);
  });
});
