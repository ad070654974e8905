import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Report } from '../../../agent/agent.ts';
import { OWN_KEYS } from '../../../agent/node/object.ts';
import { REASONS } from '../../../agent/reasons.ts';
import { fakeApiServer, refusedWith, type ScriptedResponse, statusObject } from '../fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';
import {
  BOOT,
  BROKEN_REPORT,
  DRY_RUN,
  logOf,
  publisherOf,
  READ,
  READY_REPORT,
  RESTORED,
  readyPublisher,
  WRITE,
  WRITE_TAINT,
  waitUntil,
  watched,
} from './publisher-of.ts';

const LABEL = OWN_KEYS.labels.ready;
const PLATFORM = OWN_KEYS.labels.platform;
const PROVEN_BY = OWN_KEYS.annotations.provenBy;
const PROVEN_BOOT = OWN_KEYS.annotations.provenBoot;
const OLD_BOOT = 'boot-1';
const UNKNOWN = reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') });
const FORBIDDEN = refusedWith(403, 'nodes "node-1" is forbidden: no');

describe('NodePublisher', () => {
  it('writes labels and condition in one request, and later only differences', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    await publish(READY_REPORT);
    assert.deepEqual(server.requests.splice(0), [READ, DRY_RUN, WRITE]);
    assert.deepEqual(server.node.labels, {
      [LABEL]: 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': 'release-20260223.0',
      [PLATFORM]: 'systrap',
    });
    assert.deepEqual(server.node.annotations, {
      [PROVEN_BY]: '0.1.0+a',
      [PROVEN_BOOT]: BOOT,
    });
    assert.deepEqual(server.node.taints, []);
    assert.deepEqual(server.node.conditions, [
      {
        type: 'GVisorReady',
        status: 'True',
        reason: 'SandboxProven',
        message: 'SandboxProven',
        lastHeartbeatTime: '2026-03-01T10:00:00Z',
        lastTransitionTime: '2026-03-01T10:00:00Z',
      },
    ]);
    publisher.publish(READY_REPORT);
    publisher.publish(reportOf({ facts: { ...READY_REPORT.facts, platform: 'kvm' } }));
    await logged('node written');
    assert.deepEqual(server.requests.splice(0), [WRITE]);
    assert.deepEqual(server.bodies.at(-1), {
      metadata: { labels: { [PLATFORM]: 'kvm' } },
    });
    await publish(BROKEN_REPORT);
    assert.deepEqual(server.requests, [WRITE]);
  });

  it('writes nothing if the Node is in its desired state, and restores it', async (t) => {
    const { server, publisher, logged } = await publisherOf(t);
    server.node.labels = {
      [LABEL]: 'true',
      'gvisor.node-restriction.kubernetes.io/runsc-version': 'release-20260223.0',
      [PLATFORM]: 'systrap',
      other: 'label',
    };
    const condition = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: 'before' };
    server.node.conditions = [{ ...condition, lastTransitionTime: '2026-01-01T00:00:00Z' }];
    server.node.annotations = {
      [PROVEN_BY]: '0.1.0+a',
      [PROVEN_BOOT]: BOOT,
    };
    publisher.publish(READY_REPORT);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.deepEqual(server.requests, [READ, DRY_RUN]);
    assert.equal(server.node.labels.other, 'label');
    server.node.change(({ labels }) => delete labels[LABEL]);
    await logged(RESTORED);
  });

  it('changes lastTransitionTime with the status only', async (t) => {
    const { server, publish, clock } = await publisherOf(t);
    const times = async (report: Report, minute: number) => {
      clock.nowMs = Date.parse(`2026-03-01T11:0${minute}:00Z`);
      await publish(report);
      return server.node.conditions[0]?.lastTransitionTime;
    };
    assert.equal(await times(BROKEN_REPORT, 1), '2026-03-01T11:01:00Z');
    const otherwise = reportOf({ verdict: verdictOf('False', 'RunscNotFound') });
    assert.equal(await times(otherwise, 2), '2026-03-01T11:01:00Z');
    assert.equal(server.node.conditions[0]?.reason, 'RunscNotFound');
    assert.equal(await times(READY_REPORT, 3), '2026-03-01T11:03:00Z');
    assert.equal(
      await times(reportOf({ verdict: verdictOf('Unknown', 'CheckTimedOut') }), 4),
      '2026-03-01T11:04:00Z',
    );
  });

  it('repairs a condition without times, and truncates a long message before the remedy', async (t) => {
    const { server, publish } = await publisherOf(t);
    server.node.conditions = [{ type: 'GVisorReady', status: 'False', reason: 'RunscNotFound' }];
    const message = `starting ${'x'.repeat(5_000)}: no such file`;
    await publish(reportOf({ verdict: { ...BROKEN_REPORT.verdict, message } }));
    const [condition] = server.node.conditions;
    assert.equal(condition?.lastTransitionTime, '2026-03-01T10:00:00Z');
    assert.equal(condition?.lastHeartbeatTime, '2026-03-01T10:00:00Z');
    assert.equal(condition?.message?.length, 512);
    const { remedy } = REASONS[BROKEN_REPORT.verdict.reason];
    assert.match(condition?.message ?? '', /^starting x+ … x+: no such file\. What to do: /);
    assert.ok(condition?.message?.endsWith(remedy));
  });

  it('updates the heartbeat with each write of the condition, and never on its own', async (t) => {
    const { server, publish, publisher, clock, logged } = await publisherOf(t);
    await publish(BROKEN_REPORT);
    clock.nowMs = Date.parse('2026-03-01T11:00:00Z');
    const anotherMessage = { ...BROKEN_REPORT.verdict, message: 'another message' };
    publisher.publish(reportOf({ verdict: anotherMessage }));
    publisher.publish(reportOf({ verdict: anotherMessage, facts: {} }));
    await logged('node written');
    assert.equal(server.node.conditions[0]?.lastHeartbeatTime, '2026-03-01T10:00:00Z');
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    const [condition] = server.node.conditions;
    assert.equal(condition?.lastHeartbeatTime, '2026-03-01T11:00:00Z');
    assert.equal(condition?.lastTransitionTime, '2026-03-01T10:00:00Z');
  });

  it('removes the label of a fact that is unknown now, and keeps the others', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    await publish(READY_REPORT);
    publisher.publish(reportOf({ facts: { runsc: undefined } }));
    await logged('node written');
    assert.deepEqual(server.node.labels, {
      [LABEL]: 'true',
      [PLATFORM]: 'systrap',
    });
  });

  it('writes only the latest report after an outage', async (t) => {
    const { server, publisher, publish, logged, waits } = await publisherOf(t);
    server.script.push(refusedWith(503, 'apiserver is shutting down'));
    publisher.publish(READY_REPORT);
    await logged('cannot write the node');
    for (const report of [BROKEN_REPORT, READY_REPORT, BROKEN_REPORT]) publisher.publish(report);
    assert.deepEqual(server.requests.splice(0), [READ]);
    waits[0]?.end();
    await logged('node written');
    assert.deepEqual(server.requests.splice(0), [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'false');
    await publish(READY_REPORT);
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it('honours Retry-After, and otherwise backs off to 30 s', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.script.push(refusedWith(429, 'slow down', { 'retry-after': '7' }));
    for (let failure = 0; failure < 9; failure++) server.script.push(refusedWith(500, 'broken'));
    publisher.publish(READY_REPORT);
    for (let failure = 0; failure < 10; failure++) {
      await logged('cannot write the node');
      waits[failure]?.end();
    }
    await logged('node written');
    assert.deepEqual(
      waits.map(({ ms }) => ms),
      [7_875, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000],
    );
  });

  const refusals: readonly [number, string][] = [
    [409, 'Operation cannot be fulfilled on nodes "node-1": the object has been modified'],
    [403, 'nodes "node-1" is forbidden: ValidatingAdmissionPolicy denied request'],
  ];
  for (const [status, message] of refusals) {
    it(`logs a ${status} with the server's message, reads the Node and retries`, async (t) => {
      const { server, publisher, publish, logged, waits } = await publisherOf(t);
      await publish(READY_REPORT);
      server.requests.length = 0;
      server.script.push(refusedWith(status, message));
      publisher.publish(BROKEN_REPORT);
      const line = await logged('cannot write the node');
      const { err } = line as { err: { message: string } };
      assert.equal(err.message, `PATCH /api/v1/nodes/node-1/status: ${status} ${message}`);
      waits[0]?.end();
      await logged('node written');
      assert.deepEqual(server.requests, [WRITE, READ, WRITE]);
      assert.equal(server.node.labels[LABEL], 'false');
    });
  }

  it('retries after an invalid response', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    server.script.push({ status: 200, body: 'not json' });
    publisher.publish(READY_REPORT);
    await logged('cannot write the node');
    waits[0]?.end();
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it('stops when aborted, and keeps the label', async (t) => {
    const { server, publish, publisher, logged, stop, done } = await publisherOf(t);
    await publish(READY_REPORT);
    server.script.push(refusedWith(500, 'broken'));
    publisher.publish(BROKEN_REPORT);
    await logged('cannot write the node');
    stop.abort();
    await done;
    assert.equal(server.node.labels[LABEL], 'true');
  });
});

describe('nodeWrites', () => {
  it('has the state of the Node, and the error of a write', async (t) => {
    const { server, publish, publisher, logged } = await publisherOf(t);
    assert.deepEqual(publisher.nodeWrites, { labels: {}, tainted: false });
    await publish(READY_REPORT);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    const { labels, condition, tainted, problem } = publisher.nodeWrites;
    assert.deepEqual(labels, server.node.labels);
    assert.deepEqual(condition, server.node.conditions[0]);
    assert.deepEqual([tainted, problem], [false, undefined]);
    server.node.exists = false;
    server.script.push(refusedWith(404, 'not found'));
    publisher.publish(BROKEN_REPORT);
    await logged('the node does not exist: waiting for it');
    await waitUntil('the reason', () => publisher.nodeWrites.problem !== undefined);
    assert.match(publisher.nodeWrites.problem ?? '', /^there is no Node "node-1"/);
  });
});

const RBAC = 'nodes "node-1" is forbidden: User "a" cannot patch resource "nodes/status" in API group ""';

describe('the guard of the label', () => {
  it('withholds the label while no policy is in force, retries every 5 s, and logs it once', async (t) => {
    const { server, publisher, logged, pause, waits } = await publisherOf(t);
    server.guarded = false;
    publisher.publish(READY_REPORT);
    await logged('not ready: the rollout waits');
    assert.match(publisher.unready ?? '', /^WritesUnguarded: /);
    assert.deepEqual(
      [server.node.labels[LABEL], server.node.conditions[0]?.reason],
      ['false', 'WritesUnguarded'],
    );
    for (const index of [0, 1]) {
      const { ms, end } = await pause(5_000, index);
      assert.equal(ms, 5_000);
      server.guarded = index === 1;
      end();
    }
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'true');
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(waits.length, 2);
  });

  it('keeps an existing label while no policy is in force, and the agent is not Ready', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.guarded = false;
    shared.server.node.labels = { [LABEL]: 'true' };
    const { server, publisher } = await publisherOf(t, {}, shared);
    publisher.publish(READY_REPORT);
    await waitUntil('the reason', () => publisher.unready?.startsWith('WritesUnguarded: '));
    assert.equal(server.node.labels[LABEL], 'true');
  });

  for (const [what, response] of [
    ['the right is missing', refusedWith(403, RBAC)],
    ['the API server is overloaded', refusedWith(429, 'too many requests')],
    [
      'another policy refuses',
      refusedWith(422, 'admission webhook "a.example" denied the request: no labels'),
    ],
    ['the API server fails', refusedWith(500, 'internal error')],
  ] as const satisfies readonly (readonly [string, ScriptedResponse])[]) {
    it(`withholds the label, and withdraws none, if the dry run is inconclusive because ${what}`, async (t) => {
      const shared = await fakeApiServer(t);
      const { server } = shared;
      server.node.labels[LABEL] = 'true';
      server.script.push({ status: 200, body: JSON.stringify(server.node.whole) }, response);
      const { publisher, logged, pause } = await publisherOf(t, {}, shared);
      publisher.publish(READY_REPORT);
      await logged('cannot write the node');
      assert.match(
        publisher.unready ?? '',
        /^the first verdict is not in the Node yet: PATCH .*dryRun=All: \d+/,
      );
      assert.deepEqual(server.requests.splice(0), [READ, DRY_RUN]);
      assert.deepEqual([server.node.labels[LABEL], server.node.conditions], ['true', []]);
      (await pause(1)).end();
      await logged('node written');
      assert.deepEqual(server.requests, [READ, DRY_RUN, WRITE]);
      assert.equal(publisher.unready, undefined);
    });
  }
});

describe('a label of another boot', { timeout: 30_000 }, () => {
  /** A server whose Node was written by an earlier agent in one boot, while the kubelet reports a boot. */
  const serverWith = async (t: Parameters<typeof publisherOf>[0], proven: string, reported: string) => {
    const shared = await fakeApiServer(t);
    const { node } = shared.server;
    node.labels = { [LABEL]: 'true' };
    node.annotations = { [PROVEN_BY]: '0.1.0+a', [PROVEN_BOOT]: proven };
    node.conditions = [{ type: 'GVisorReady', status: 'True', reason: 'SandboxProven', message: 'before' }];
    node.bootID = reported;
    return { ...(await publisherOf(t, {}, shared)), node };
  };

  it('is withdrawn before the first report, and granted again with a proof', async (t) => {
    const { node, logged, publish, publisher, changed } = await serverWith(t, OLD_BOOT, BOOT);
    await logged('node written');
    assert.equal(node.labels[LABEL], 'false');
    assert.equal(node.annotations[PROVEN_BOOT], OLD_BOOT);
    const [condition] = node.conditions;
    assert.deepEqual([condition?.status, condition?.reason], ['Unknown', 'NodeRebooted']);
    assert.match(
      condition?.message ?? '',
      /^gVisor was proven in the boot boot-1, and not yet in the present one, boot-2\. What to do: Wait/,
    );
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(READY_REPORT);
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['true', BOOT]);
    assert.equal(node.annotations[PROVEN_BY], '0.1.0+a');
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.deepEqual(
      changed.map(([{ reason }]) => reason),
      ['NodeRebooted', 'SandboxProven'],
    );
  });

  it('stays if the boot is the same', async (t) => {
    const { server, node, publisher } = await serverWith(t, BOOT, BOOT);
    await watched(server);
    await waitUntil('the Node to be read', () => server.requests.length > 0);
    node.change(({ labels }) => {
      labels.other = 'label';
    });
    publisher.publish(UNKNOWN);
    await waitUntil('the report to be written', () => node.labels[LABEL] === 'false');
    assert.deepEqual(server.requests, [READ, WRITE]);
  });

  it('is granted, and the agent Ready, only once the kubelet reports the same boot', async (t) => {
    const { server, node, logged, publisher } = await serverWith(t, OLD_BOOT, OLD_BOOT);
    await watched(server);
    await logged('node written');
    publisher.publish(READY_REPORT);
    await logged('not ready: the rollout waits');
    assert.equal(
      publisher.unready,
      'gVisor was proven in the boot boot-2, but the kubelet reports the boot boot-1',
    );
    assert.equal(node.labels[LABEL], 'false');
    node.change((changing) => {
      changing.bootID = BOOT;
    }, 'kubelet');
    await logged('node written');
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['true', BOOT]);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
  });

  it('is not contested with the controller when the kubelet reports another boot', async (t) => {
    const { log, logged } = logOf();
    const { server, publisher } = await publisherOf(t, { log });
    const { node } = server;
    node.bootID = BOOT;
    await watched(server);
    publisher.publish(READY_REPORT);
    await logged('node written');
    node.change((changing) => {
      changing.bootID = OLD_BOOT;
      changing.labels[LABEL] = 'false';
      changing.conditions = [
        { type: 'GVisorReady', status: 'Unknown', reason: 'NodeRebooted', message: 'm' },
      ];
    }, 'gvisor-ready-fleet');
    await logged('not ready: the rollout waits');
    const granted = server.bodies.filter(({ metadata }) => metadata?.labels?.[LABEL] === 'true');
    assert.deepEqual([node.labels[LABEL], granted.length], ['false', 1]);
  });
});

describe('a rollout', () => {
  it('waits if a node that another agent proved is not ready, and the verdict is written', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations[PROVEN_BY] = '0.0.9+c';
    const { server, publisher, publish, logged } = await publisherOf(t, {}, shared);
    await watched(server);
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(BROKEN_REPORT);
    const { unready } = await logged('not ready: the rollout waits');
    assert.equal(unready, publisher.unready);
    assert.equal(server.node.labels[LABEL], 'false');
    assert.equal(server.node.annotations[PROVEN_BY], '0.0.9+c');
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    const accept = 'kubectl annotate node node-1 gvisor.node-restriction.kubernetes.io/proven-by-';
    await waitUntil('the reason', () => publisher.unready?.includes('RunscNotFound'));
    assert.equal(
      publisher.unready,
      `the node was proven by 0.0.9+c; this 0.1.0+a says RunscNotFound: RunscNotFound; to accept that: ${accept}`,
    );
    await publish(READY_REPORT);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.annotations[PROVEN_BY], '0.1.0+a');
    publisher.publish(BROKEN_REPORT);
    await logged('node written');
    await waitUntil('the proof to be withdrawn', () => server.node.annotations[PROVEN_BY] === '');
    assert.equal(publisher.unready, undefined);
  });

  it('continues once the annotation is removed', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.annotations[PROVEN_BY] = '0.0.9+c';
    const { server, publisher, publish } = await publisherOf(t, {}, shared);
    await watched(server);
    await publish(BROKEN_REPORT);
    await waitUntil('the guard', () => publisher.unready?.startsWith('the node was proven by'));
    server.node.change(({ annotations }) => delete annotations[PROVEN_BY]);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('reports from the Node whether gVisor was ever proven, until the annotation is removed', async (t) => {
    const reported: boolean[] = [];
    const { server, publisher, publish } = await publisherOf(t, {
      onProvenOnce: (yes) => reported.push(yes),
    });
    await watched(server);
    await publish(BROKEN_REPORT);
    await waitUntil('the Node to be read', () => reported.at(-1) === false);
    await publish(READY_REPORT);
    await waitUntil('the proof', () => reported.at(-1) === true);
    await publish(BROKEN_REPORT);
    await waitUntil('the withdrawal', () => server.node.annotations[PROVEN_BY] === '');
    assert.equal(reported.at(-1), true);
    assert.equal(publisher.unready, undefined);
    server.node.change(({ annotations }) => delete annotations[PROVEN_BY]);
    await waitUntil('the removal to be reported', () => reported.at(-1) === false);
    assert.equal(server.node.annotations[PROVEN_BY], undefined);
  });

  it('waits while the first verdict cannot be written, and reports why', async (t) => {
    const { server, publisher, logged, waits } = await publisherOf(t);
    server.script.push(refusedWith(403, 'no'));
    publisher.publish(READY_REPORT);
    await logged('cannot write the node');
    assert.match(publisher.unready ?? '', /^the first verdict is not in the Node yet: GET \S+ 403 no$/);
    waits[0]?.end();
    await logged('node written');
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
  });
});

/** A publisher that has written once, then gets each of these responses `everyMs` after the previous one. */
async function failing(t: TestContext, everyMs: number, responses: readonly ScriptedResponse[]) {
  t.mock.method(Math, 'random', () => 0.5);
  const all = await readyPublisher(t);
  all.server.script.push(...responses);
  all.publisher.publish(BROKEN_REPORT);
  const unreadyTexts: (string | undefined)[] = [];
  for (const index of responses.keys()) {
    await all.logged('cannot write the node');
    const { end } = await all.pause(1, index);
    unreadyTexts.push(all.publisher.unready);
    all.clock.nowMs += everyMs;
    if (index < responses.length - 1) end();
  }
  return { ...all, unreadyTexts, retry: async () => (await all.pause(1, responses.length - 1)).end() };
}

describe('an outage of writes', () => {
  it('makes the agent unready after five minutes, until a write succeeds', async (t) => {
    const { unreadyTexts, logged, publisher, server, retry } = await failing(
      t,
      75_000,
      Array(6).fill(FORBIDDEN),
    );
    // The first attempt patches; each retry reads the Node first.
    const read =
      'the Node could not be written for 5 min: GET /api/v1/nodes/node-1: 403 nodes "node-1" is forbidden: no';
    assert.deepEqual(unreadyTexts, [
      undefined,
      undefined,
      undefined,
      undefined,
      read,
      read.replace('5 min', '6 min'),
    ]);
    await retry();
    const { failedForMs } = await logged('the node can be written again');
    assert.equal(failedForMs, 450_000);
    await waitUntil('the agent to be ready', () => publisher.unready === undefined);
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('is logged once', async (t) => {
    const { logged, unreadyTexts } = await failing(t, 75_000, Array(5).fill(FORBIDDEN));
    assert.notEqual(unreadyTexts.at(-1), undefined);
    const { level, err } = await logged('not ready: the node could not be written for minutes');
    assert.deepEqual(
      [level, (err as Error).message],
      [40, 'GET /api/v1/nodes/node-1: 403 nodes "node-1" is forbidden: no'],
    );
  });

  it('leaves the agent ready if it is short', async (t) => {
    const short = await failing(t, 1_000, Array(8).fill(FORBIDDEN));
    assert.deepEqual(short.unreadyTexts, Array(8).fill(undefined));
  });

  it('ends when the Node is deleted', async (t) => {
    const { server, logged, waits, retry } = await failing(t, 75_000, Array(6).fill(FORBIDDEN));
    server.node.delete();
    await retry();
    await logged('the node is gone: waiting for it to return');
    const from = waits.length;
    server.script.push(FORBIDDEN);
    server.node.recreate('uid-2');
    await logged('cannot write the node');
    await waitUntil('the pause', () => waits.length > from);
    assert.equal(waits.at(-1)?.ms, 500);
    waits.at(-1)?.end();
    await logged('node written');
  });

  it('leaves the agent ready after fewer than five attempts', async (t) => {
    const { unreadyTexts } = await failing(t, 300_000, Array(4).fill(FORBIDDEN));
    assert.deepEqual(unreadyTexts, Array(4).fill(undefined));
  });
});

describe('the watched Node', () => {
  it('is watched as a whole by its name, about an hour at a time', async (t) => {
    const { server } = await readyPublisher(t);
    const url = new URL(`https://api${server.watched[0]}`);
    assert.equal(url.pathname, '/api/v1/nodes');
    const { timeoutSeconds, ...query } = Object.fromEntries(url.searchParams);
    assert.deepEqual(query, {
      fieldSelector: 'metadata.name=node-1',
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: '0',
    });
    assert.ok(Number(timeoutSeconds) >= 3_000 && Number(timeoutSeconds) <= 4_200, timeoutSeconds);
    assert.deepEqual(server.accepted, ['application/json']);
  });

  it('is awaited after its deletion, and labelled again when it is recreated', async (t) => {
    const { server, logged, publisher, changed } = await readyPublisher(t);
    server.node.delete();
    await logged('the node is gone: waiting for it to return');
    publisher.publish(BROKEN_REPORT);
    publisher.publish(READY_REPORT);
    server.node.recreate('uid-2');
    await logged('node written');
    assert.deepEqual(server.requests, [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'true');
    assert.deepEqual(
      changed.map(([, uid]) => uid),
      ['uid-1', 'uid-2'],
    );
  });

  it('is labelled again if it was recreated between two watches', async (t) => {
    const { server, logged, pause, changed } = await readyPublisher(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.endWatches();
    const { end } = await pause(500);
    server.node.recreate('uid-2');
    end();
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'true');
    assert.equal(changed.at(-1)?.[1], 'uid-2');
  });

  it('is read again if a new watch starts with an older version, as after an etcd restore', async (t) => {
    const { server, logged, pause } = await readyPublisher(t);
    t.mock.method(Math, 'random', () => 0.5);
    server.node.restore({ [LABEL]: 'false' }, 0);
    server.endWatches();
    const { end } = await pause(500);
    end();
    await logged('node written');
    assert.deepEqual(server.requests, [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it("is read again 30 s after a 404, which may be a proxy's", async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.watchScript.push('silence');
    const { server, publisher, publish, logged, pause, clock } = await publisherOf(t, {}, shared);
    await publish(READY_REPORT);
    server.script.push(refusedWith(404, 'not found'));
    publisher.publish(BROKEN_REPORT);
    await logged('the node does not exist: waiting for it');
    const { ms, end } = await pause(1);
    assert.equal(ms, 30_000);
    clock.nowMs += ms;
    end();
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('is awaited without requests if it does not exist yet', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.delete();
    const { server, publisher, logged } = await publisherOf(t, {}, shared);
    await watched(server);
    publisher.publish(READY_REPORT);
    await logged('the node does not exist: waiting for it');
    assert.match(publisher.unready ?? '', /^there is no Node "node-1": is NODE_NAME right\?$/);
    publisher.publish(READY_REPORT);
    assert.deepEqual(server.requests, [READ]);
    server.node.recreate('uid-1');
    await logged('node written');
    assert.deepEqual(server.requests, [READ, READ, DRY_RUN, WRITE]);
    assert.equal(publisher.unready, undefined);
  });

  for (const [what, end] of [
    ['ended in time', ''],
    ['was too old (410)', `${JSON.stringify({ type: 'ERROR', object: statusObject(410, 'too old') })}\n`],
  ] as const) {
    it(`is watched again after the watch ${what}`, async (t) => {
      const { server, logged, pause } = await readyPublisher(t);
      t.mock.method(Math, 'random', () => 0.5);
      server.endWatches(end);
      const { end: wake } = await pause(500);
      server.node.change(({ labels }) => delete labels[LABEL]);
      wake();
      await logged(RESTORED);
      assert.equal(server.node.labels[LABEL], 'true');
      assert.equal(server.watched.length, 2);
    });
  }

  it('is labelled, and watched with backoff, while watches are refused', async (t) => {
    const shared = await fakeApiServer(t);
    t.mock.method(Math, 'random', () => 0.5);
    const message =
      'nodes is forbidden: User "u" cannot watch resource "nodes" in API group "" at the cluster scope';
    for (let time = 0; time < 9; time++) shared.server.watchScript.push(refusedWith(403, message));
    const { logged, pause, waits, publish } = await publisherOf(t, {}, shared);
    for (let time = 0; time < 9; time++) {
      const { err } = (await logged('watch ended')) as { err: Error };
      assert.match(err.message, /kubectl auth can-i watch nodes --as=u$/);
      (await pause(1, time)).end();
    }
    const s = 1_000;
    assert.deepEqual(
      waits.map(({ ms }) => ms),
      [s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 120 * s, 120 * s],
    );
    await publish(READY_REPORT);
    assert.equal(shared.server.node.labels[LABEL], 'true');
  });
});

describe('a watch that ends at once', () => {
  it('is repeated with backoff', async (t) => {
    const shared = await fakeApiServer(t);
    t.mock.method(Math, 'random', () => 0.5);
    for (let time = 0; time < 4; time++) shared.server.watchScript.push({ status: 200 });
    shared.server.watchScript.push(refusedWith(429, 'slow down', { 'retry-after': '60' }));
    const { pause } = await publisherOf(t, {}, shared);
    for (const [time, expected] of [1_000, 2_000, 4_000, 8_000, 33_750].entries()) {
      const { ms, end } = await pause(1, time);
      assert.equal(ms, expected);
      end();
    }
    await watched(shared.server);
  });
});

describe('a watch that a proxy ends after 50 s', () => {
  it('is repeated without backoff', async (t) => {
    t.mock.method(Math, 'random', () => 0.5);
    let nowMs = 0;
    t.mock.method(performance, 'now', () => nowMs);
    const { server, pause } = await publisherOf(t);
    for (let time = 0; time < 4; time++) {
      await watched(server);
      nowMs += 50_000;
      server.endWatches();
      const { ms, end } = await pause(1, time);
      assert.equal(ms, 1_000);
      end();
    }
  });
});

describe('a Node that another client changes', () => {
  const changes: readonly [
    string,
    (node: Awaited<ReturnType<typeof readyPublisher>>['server']['node']) => void,
  ][] = [
    ['a removed label', ({ labels }) => delete labels[LABEL]],
    [
      'a changed label',
      ({ labels }) => {
        labels[LABEL] = 'false';
      },
    ],
    ['a removed annotation', ({ annotations }) => delete annotations[PROVEN_BY]],
  ];
  for (const [what, act] of changes) {
    it(`has ${what} restored with one request`, async (t) => {
      const { server, logged } = await readyPublisher(t);
      const was = structuredClone([server.node.labels, server.node.annotations]);
      server.node.change(act);
      await logged(RESTORED);
      assert.deepEqual([server.node.labels, server.node.annotations], was);
      assert.deepEqual(server.requests, [WRITE]);
    });
  }

  for (const conditions of [[], [{ type: 'GVisorReady', status: 'False', reason: 'Forged' }]]) {
    it(`has a ${conditions.length === 0 ? 'removed' : 'forged'} condition restored with one request, without an event`, async (t) => {
      const { server, logged, changed } = await readyPublisher(t);
      server.node.change((node) => {
        node.conditions = conditions;
      });
      await logged(RESTORED);
      assert.deepEqual(server.requests, [WRITE]);
      assert.equal(server.node.conditions[0]?.reason, 'SandboxProven');
      assert.equal(changed.length, 1, 'no event');
    });
  }

  it('causes no request if another client changes its own values', async (t) => {
    const { server, logged, publisher } = await readyPublisher(t);
    server.node.change((node) => {
      node.labels.team = 'a';
    });
    server.node.change((node) => {
      node.taints = [{ key: 'a', effect: 'NoSchedule' }];
    });
    publisher.publish(BROKEN_REPORT);
    await logged('node written');
    assert.deepEqual(server.requests, [WRITE]);
    assert.equal(server.node.labels.team, 'a');
  });

  it('is restored with backoff per key while another client keeps changing it', async (t) => {
    const { server, logged, pause, waits, clock } = await readyPublisher(t);
    const pausesMs: number[] = [];
    for (let count = 1; count <= 12; count++) {
      const from = waits.length;
      server.node.change(({ labels }) => delete labels[LABEL]);
      if (count > 1) {
        const { ms, end } = await pause(1, from);
        assert.equal(server.node.labels[LABEL], undefined);
        pausesMs.push(ms);
        clock.nowMs += ms;
        end();
      }
      assert.equal((await logged(RESTORED)).times, count);
    }
    const s = 1_000;
    assert.deepEqual(pausesMs, [
      s,
      2 * s,
      4 * s,
      8 * s,
      16 * s,
      32 * s,
      64 * s,
      128 * s,
      256 * s,
      300 * s,
      300 * s,
    ]);
    server.requests.length = 0;
    server.node.change(({ labels }) => delete labels[PLATFORM]); // another key is no part of it
    assert.equal((await logged(RESTORED)).key, 'gvisor.node-restriction.kubernetes.io/platform');
  });

  it('gets a new verdict at once, also while its key is contested', async (t) => {
    const { server, logged, pause, waits, publish } = await readyPublisher(t);
    const remove = () => server.node.change(({ labels }) => delete labels[LABEL]);
    remove();
    await logged(RESTORED);
    const from = waits.length;
    remove();
    await pause(1_000, from);
    await publish(BROKEN_REPORT);
    assert.equal(server.node.labels[LABEL], 'false');
  });
});

describe('a taint', () => {
  const TAINT = { key: 'gvisor.node-restriction.kubernetes.io/not-ready', effect: 'NoSchedule' };
  const other = { key: 'other', effect: 'NoExecute', value: 'a' };

  it('stays on an unproven node, beside other taints, until the proof', async (t) => {
    const shared = await fakeApiServer(t);
    shared.server.node.taints = [other];
    const { server, publish, logged } = await publisherOf(t, { taint: true }, shared);
    await publish(BROKEN_REPORT);
    await logged('taint written');
    assert.deepEqual(server.requests, [READ, WRITE, WRITE_TAINT]);
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') }));
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(READY_REPORT);
    await logged('taint written');
    assert.deepEqual(server.node.taints, [other]);
  });

  it('is restored without removing other taints', async (t) => {
    const { server, publish, logged } = await publisherOf(t, { taint: true });
    await watched(server);
    await publish(BROKEN_REPORT);
    await logged('taint written');
    server.node.change((node) => {
      node.taints = [other];
    });
    await logged(RESTORED);
    assert.deepEqual(server.node.taints, [other, TAINT]);
  });

  it('is not written over a newer Node, and the verdict sends one event', async (t) => {
    const { server, publisher, logged, waits, changed } = await publisherOf(t, { taint: true });
    publisher.publish(READY_REPORT);
    await logged('node written');
    server.node.onChange = () => {}; // the watch lags
    const patch = server.node.patch.bind(server.node);
    server.node.patch = (body, manager) => {
      if (body.spec !== undefined) {
        server.node.patch = patch;
        server.node.change((node) => {
          node.taints = [other];
        });
      }
      return patch(body, manager);
    };
    publisher.publish(BROKEN_REPORT);
    const line = await logged('cannot write the node');
    assert.match((line as { err: Error }).err.message, /: 409 /);
    waits.at(-1)?.end();
    await logged('taint written');
    assert.deepEqual(server.node.taints, [other, TAINT]);
    assert.deepEqual(
      changed.map(([{ reason }]) => reason),
      ['SandboxProven', 'ShimNotFound'],
    );
  });

  describe('that cannot be written', () => {
    /** A publisher whose writes of the taint are refused from `refuse` to `accept`. */
    async function refused(t: TestContext) {
      const setup = await publisherOf(t, { taint: true });
      await watched(setup.server);
      const { node } = setup.server;
      const patch = node.patch.bind(node);
      const refuse = () => {
        node.patch = (body, manager) => (body.spec === undefined ? patch(body, manager) : false);
      };
      const accept = () => {
        node.patch = patch;
      };
      const events = () => setup.changed.map(([{ reason }]) => reason);
      return { ...setup, refuse, accept, events };
    }

    it('does not lose the events of later verdicts', async (t) => {
      const { publish, publisher, logged, waits, refuse, accept, events } = await refused(t);
      await publish(READY_REPORT);
      refuse();
      publisher.publish(BROKEN_REPORT);
      await logged('cannot write the node');
      accept();
      publisher.publish(READY_REPORT);
      waits.at(-1)?.end();
      await logged('node written');
      assert.deepEqual(events(), ['SandboxProven', 'ShimNotFound', 'SandboxProven']);
    });

    it('sends no event for a forged condition', async (t) => {
      const { server, publisher, logged, waits, refuse, events } = await refused(t);
      refuse();
      publisher.publish(BROKEN_REPORT);
      await logged('cannot write the node');
      server.node.change((node) => {
        node.labels[LABEL] = 'true';
        node.conditions = node.conditions.map((each) => ({ ...each, status: 'True', reason: 'Forged' }));
      });
      waits.at(-1)?.end();
      await logged(RESTORED);
      await logged('cannot write the node');
      assert.deepEqual(events(), ['ShimNotFound']);
    });
  });
});
