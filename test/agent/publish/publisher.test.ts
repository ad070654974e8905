import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { isExpected, OWN_KEYS } from '../../../lib/report/node-object.ts';
import { type FakeApiServer, refusedWith, statusObject } from '../../lib/kube/fake-api-server.ts';
import type { FakeCondition, FakeNode } from '../fake-node-object.ts';
import { PROVEN_VERDICT, reportOf, verdictOf } from '../reports.ts';
import {
  BOOT,
  BROKEN_REPORT,
  DRY_RUN,
  FIND,
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

const { ready: LABEL, platform: PLATFORM, expected: EXPECTED } = OWN_KEYS.labels;
const { provenBy: PROVEN_BY, provenBoot: PROVEN_BOOT } = OWN_KEYS.annotations;
const OLD_BOOT = 'boot-1';
const UNKNOWN = reportOf({ verdict: verdictOf('Unknown', 'ContainerdUnreachable') });
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';
const READY_NODE = {
  labels: {
    [`${DOMAIN}/ready`]: 'true',
    [`${DOMAIN}/runsc-version`]: 'release-20260223.0',
    [`${DOMAIN}/platform`]: 'systrap',
    [`${DOMAIN}/expected`]: 'true',
  },
  annotations: { [`${DOMAIN}/proven-by`]: '0.1.0+a', [`${DOMAIN}/proven-boot`]: BOOT },
};
const CONDITION = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven' };
/** A node without a part of gVisor. */
const BARE = reportOf({
  expected: false,
  verdict: verdictOf('False', 'HandlerNotConfigured'),
});
const FORBIDDEN = refusedWith(403, 'nodes "node-1" is forbidden: no');

describe('NodePublisher', () => {
  it('writes labels and condition in one request, and later only differences', async (t) => {
    const { server, publish } = await publisherOf(t);
    await publish(READY_REPORT);
    assert.deepEqual(server.requests.splice(0), [READ, FIND, DRY_RUN, WRITE]);
    const { labels, annotations, taints, conditions } = server.node;
    assert.deepEqual({ labels, annotations, taints }, { ...READY_NODE, taints: [] });
    const at = '2026-03-01T10:00:00Z';
    const times = { lastHeartbeatTime: at, lastTransitionTime: at };
    assert.deepEqual(conditions, [{ ...CONDITION, message: 'SandboxProven', ...times }]);
    await publish(reportOf({ facts: { ...READY_REPORT.facts, platform: 'kvm' } }));
    assert.deepEqual(server.bodies.at(-1), { metadata: { labels: { [PLATFORM]: 'kvm' } } });
    await publish(BROKEN_REPORT);
    assert.deepEqual(server.requests, [WRITE, WRITE]);
  });

  it('writes nothing if the Node is in its desired state, and restores it', async (t) => {
    const { server, logged, isReady, tell } = await publisherOf(t, {}, ({ node }) => {
      node.labels = { ...READY_NODE.labels, other: 'label' };
      node.annotations = { ...READY_NODE.annotations };
      node.conditions = [{ ...CONDITION, message: 'before', lastTransitionTime: '2026-01-01T00:00:00Z' }];
    });
    tell(READY_REPORT);
    await isReady();
    assert.deepEqual(server.requests, [READ, FIND, DRY_RUN]);
    assert.equal(server.node.labels.other, 'label');
    server.node.change(({ labels }) => delete labels[LABEL]);
    await logged(RESTORED);
  });

  it('writes only the latest report after an outage', async (t) => {
    const { server, logged, waits, tell } = await publisherOf(t);
    server.script.push(refusedWith(503, 'apiserver is shutting down'));
    tell(READY_REPORT);
    await logged('cannot write the node');
    for (const report of [BROKEN_REPORT, READY_REPORT, BROKEN_REPORT]) tell(report);
    assert.deepEqual(server.requests.splice(0), [READ]);
    waits[0]?.end();
    await logged('node written');
    assert.deepEqual(server.requests, [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('honours Retry-After, and otherwise backs off to 30 s', async (t) => {
    const { server, logged, retry, pauses, tell } = await publisherOf(t);
    server.script.push(refusedWith(429, 'slow down', { 'retry-after': '7' }));
    server.script.push(...Array(8).fill(refusedWith(500, 'broken')));
    tell(READY_REPORT);
    for (let failure = 0; failure < 9; failure++) await retry();
    await logged('node written');
    assert.deepEqual(pauses(), [7.875, 1, 2, 4, 8, 16, 30, 30, 30]);
  });

  it('retries a withdrawal after at most 3 s', async (t) => {
    const { server, logged, retry, pauses, tell } = await readyPublisher(t);
    server.script.push(...Array(5).fill(refusedWith(500, 'broken')));
    tell(BROKEN_REPORT);
    for (let failure = 0; failure < 5; failure++) await retry();
    await logged('node written');
    assert.deepEqual(pauses(), [0.5, 1, 2, 3, 3]);
  });

  for (const [what, response, error] of [
    ['409', refusedWith(409, 'modified'), /^PATCH \/api\/v1\/nodes\/node-1\/status: 409 modified$/],
    ['response that is no JSON', { status: 200, body: 'not json' }, /JSON/],
    ['response that is no Node', { status: 200, body: '{}' }, /nodes\/node-1: the response is not a Node$/],
  ] as const) {
    it(`logs a ${what}, reads the Node and retries`, async (t) => {
      const { server, logged, retry, tell } = await readyPublisher(t);
      server.script.push(response);
      tell(BROKEN_REPORT);
      assert.match(await retry(), error);
      await logged('node written');
      assert.deepEqual(server.requests, [WRITE, READ, WRITE]);
      assert.equal(server.node.labels[LABEL], 'false');
    });
  }

  it('withdraws a label at once, also during the pause after another write has failed', async (t) => {
    const { server, logged, waits, tell } = await readyPublisher(t);
    server.script.push(refusedWith(500, 'broken'));
    const facts = { ...READY_REPORT.facts, runsc: 'release-20260301.0' };
    tell({ ...READY_REPORT, facts });
    await logged('cannot write the node');
    assert.equal(waits.length, 1);
    tell(BROKEN_REPORT);
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('stops when aborted, and keeps the label', async (t) => {
    const { server, logged, stop, done, tell } = await readyPublisher(t);
    server.script.push(refusedWith(500, 'broken'));
    tell(BROKEN_REPORT);
    await logged('cannot write the node');
    stop.abort();
    await done;
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it('has the state of the Node, and the error of a write', async (t) => {
    const { server, publish, publisher, isReady, tell } = await publisherOf(t);
    assert.deepEqual(publisher.nodeWrites, { condition: undefined, problem: undefined });
    await publish(READY_REPORT);
    await isReady();
    const [condition] = server.node.conditions;
    assert.deepEqual(publisher.nodeWrites, { condition, problem: undefined });
    server.node.exists = false;
    server.script.push(refusedWith(404, 'not found'));
    tell(BROKEN_REPORT);
    const problem = () => publisher.nodeWrites.problem;
    await waitUntil('the reason', () => problem()?.startsWith('there is no Node "node-1"'));
  });
});

const RBAC = 'nodes "node-1" is forbidden: User "a" cannot patch resource "nodes/status" in API group ""';

describe('additional handlers', () => {
  const KVM = `${DOMAIN}/ready-kvm`;
  const KVM_BOOT = `${DOMAIN}/proven-boot-kvm`;
  const kvmReport = (verdict = PROVEN_VERDICT) => reportOf({ handler: 'kvm', verdict });
  const BROKEN_KVM = kvmReport(verdictOf('False', 'ShimNotFound'));

  it('have labels of their own, which a broken one loses alone', async (t) => {
    const { server, publisher, publish, logged, events, tell, seen } = await publisherOf(t, {
      handlers: ['runsc', 'kvm'],
    });
    await publish(READY_REPORT);
    const { labels, annotations, conditions } = server.node;
    const condition = { ...conditions[0] };
    tell(kvmReport());
    await logged('node written');
    assert.deepEqual([labels[KVM], annotations[KVM_BOOT]], ['true', BOOT]);
    tell(BROKEN_KVM);
    await logged('node written');
    assert.deepEqual([labels[KVM], annotations[KVM_BOOT], labels[LABEL]], ['false', BOOT, 'true']);
    assert.deepEqual([conditions, publisher.unready], [[condition], undefined]);
    assert.deepEqual(labels, { ...READY_NODE.labels, [KVM]: 'false' });
    await waitUntil('the events', () => events().length === 3);
    assert.deepEqual(events(), ['SandboxProven', 'SandboxProven', 'ShimNotFound']);
    assert.equal(seen.get('kvm')?.provenOnce, true);
  });

  it('keep their labels when the main one is broken', async (t) => {
    const { server, publish, logged, tell } = await publisherOf(t, { handlers: ['runsc', 'kvm'] });
    tell(kvmReport());
    await logged('node written');
    assert.deepEqual(server.node.conditions, [], 'the main one has no verdict yet');
    await publish(BROKEN_REPORT);
    assert.deepEqual([server.node.labels[LABEL], server.node.labels[KVM]], ['false', 'true']);
  });

  it('are granted no label while no policy is in force, and withdrawn all the same', async (t) => {
    const DEBUG = `${DOMAIN}/ready-debug`;
    const handlers = ['runsc', 'kvm', 'debug'];
    const { server, publish, waits, pause, logged, tell } = await publisherOf(t, { handlers }, (api) => {
      api.guarded = false;
      api.node.labels = { [DEBUG]: 'true' };
    });
    tell(kvmReport());
    tell({ ...BROKEN_KVM, handler: 'debug' });
    await publish(BROKEN_REPORT);
    const { labels, annotations } = server.node;
    assert.deepEqual([labels[KVM], annotations[KVM_BOOT], labels[DEBUG]], ['false', undefined, 'false']);
    await waitUntil('the question', () => server.requests.includes(DRY_RUN));
    server.guarded = true;
    (await pause(5_000)).end();
    await logged('node written');
    assert.equal(labels[KVM], 'true');
    assert.equal(waits.length, 1);
  });
});

describe('the guard of the label', () => {
  it('withholds the label while no policy is in force, retries every 5 s, and logs it once', async (t) => {
    const { server, publisher, logged, pause, waits, isReady, tell } = await publisherOf(t);
    server.guarded = false;
    tell(READY_REPORT);
    await logged('not ready: the rollout waits');
    assert.match(publisher.unready ?? '', /^WritesUnguarded: /);
    const { labels, conditions } = server.node;
    assert.deepEqual([labels[LABEL], conditions[0]?.reason], ['false', 'WritesUnguarded']);
    for (const index of [0, 1]) {
      const { ms, end } = await pause(5_000, index);
      assert.equal(ms, 5_000);
      server.guarded = index === 1;
      end();
    }
    await logged('node written');
    assert.equal(labels[LABEL], 'true');
    await isReady();
    assert.equal(waits.length, 2);
  });

  it('is asked for once with each new proof, and the agent is not Ready once it is gone', async (t) => {
    const { server, publisher, pause, isReady, tell } = await readyPublisher(t);
    const prove = (provenAt: string) => tell({ ...READY_REPORT, provenAt });
    const asked = (times: number) => waitUntil('the question', () => server.requests.length >= times);
    prove('10:10');
    await asked(1);
    prove('10:10');
    server.guarded = false;
    prove('10:20');
    await waitUntil('the reason', () => publisher.unready?.startsWith('WritesUnguarded: '));
    assert.deepEqual(server.requests, [DRY_RUN, DRY_RUN]);
    assert.equal(server.node.labels[LABEL], 'true');
    server.guarded = true;
    (await pause(5_000)).end();
    await isReady();
  });

  it('is asked for every 5 s also while another client keeps changing a key', async (t) => {
    const { server, logged, waits, clock, tell } = await publisherOf(t);
    const { labels } = server.node;
    server.guarded = false;
    tell(READY_REPORT);
    await logged('not ready: the rollout waits');
    const endPauses = (atMostMs: number) => {
      for (const { ms, end } of waits) if (ms <= atMostMs) end();
    };
    for (const pauseMs of [0, 1_000, 2_000, 4_000]) {
      server.node.change(() => delete labels[PLATFORM]);
      await waitUntil('the pause', () => pauseMs === 0 || waits.some(({ ms }) => ms === pauseMs));
      clock.nowMs += pauseMs;
      await waitUntil('the label to be restored', () => {
        endPauses(pauseMs);
        return labels[PLATFORM] === 'systrap';
      });
    }
    server.node.change(() => delete labels[PLATFORM]); // which is restored after 8 s
    server.requests.length = 0;
    await waitUntil('five questions', () => {
      endPauses(5_000);
      return server.requests.filter((request) => request === DRY_RUN).length >= 5;
    });
    assert.equal(labels[PLATFORM], undefined);
  });

  it('stays as it was answered where a later question is refused, and nothing waits for that', async (t) => {
    const { server, publisher, publish, logged, tell } = await readyPublisher(t);
    server.script.push(refusedWith(429, 'too many requests'));
    tell({ ...READY_REPORT, provenAt: '10:10' });
    await logged('cannot ask whether an admission policy limits this agent');
    assert.equal(publisher.unready, undefined);
    await publish(BROKEN_REPORT);
  });

  it('is asked for only once the label of another handler is withdrawn', async (t) => {
    const KVM = `${DOMAIN}/ready-kvm`;
    const { server, logged, tell } = await publisherOf(t, { handlers: ['runsc', 'kvm'] }, ({ node }) => {
      node.labels[LABEL] = 'true';
    });
    tell(reportOf({ handler: 'kvm' }));
    tell(BROKEN_REPORT);
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'false');
    await waitUntil('the other label', () => server.node.labels[KVM] === 'true');
    assert.deepEqual(server.requests, [READ, WRITE, FIND, DRY_RUN, WRITE]);
  });

  it('delays no withdrawal while it does not answer', async (t) => {
    const handlers = ['runsc', 'kvm'];
    const { server, logged, tell } = await publisherOf(t, { handlers }, ({ node, script }) => {
      node.labels[LABEL] = 'true';
      script.push({ status: 200, body: JSON.stringify(node.whole) }, 'silence');
    });
    tell(reportOf({ handler: 'kvm' }));
    await waitUntil('the question', () => server.requests.includes(FIND));
    tell(BROKEN_REPORT);
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'false');
  });

  for (const [what, prepare] of [
    ['there is no other Node', (server: FakeApiServer) => server.others.splice(0)],
    [
      'the right to list Nodes is missing',
      (server: FakeApiServer) =>
        server.script.push({ status: 200, body: JSON.stringify(server.node.whole) }, refusedWith(403, RBAC)),
    ],
    [
      'the other Node is gone',
      (server: FakeApiServer) => {
        const list = { items: [{ metadata: { name: 'node-9' } }] };
        const found = [server.node.whole, list].map((body) => ({ status: 200, body: JSON.stringify(body) }));
        server.script.push(...found, refusedWith(404, 'nodes "node-9" not found'));
      },
    ],
  ] as const)
    it(`asks for a label that is not an agent's where ${what}`, async (t) => {
      const { server, publish } = await publisherOf(t, {}, prepare);
      await publish(READY_REPORT);
      assert.deepEqual(server.requests.slice(-2), [DRY_RUN.replace('node-2', 'node-1'), WRITE]);
      assert.equal(server.node.labels[LABEL], 'true');
    });

  const WEBHOOK = 'admission webhook "a.example" denied the request: no labels';
  for (const [what, response] of [
    ['the right is missing', refusedWith(403, RBAC)],
    ['another policy refuses', refusedWith(422, WEBHOOK)],
    ['the API server fails', refusedWith(500, 'internal error')],
  ] as const) {
    it(`withholds the label, and withdraws none, if the dry run is inconclusive because ${what}`, async (t) => {
      const { server, publisher, logged, pause, tell } = await publisherOf(t, {}, ({ node, script }) => {
        node.labels[LABEL] = 'true';
        const list = { items: [{ metadata: { name: 'node-2' } }] };
        const found = [node.whole, list].map((body) => ({ status: 200, body: JSON.stringify(body) }));
        script.push(...found, response);
      });
      tell(READY_REPORT);
      await logged('cannot write the node');
      const unready = /^the first verdict is not in the Node yet: PATCH .*dryRun=All: \d+/;
      assert.match(publisher.unready ?? '', unready);
      assert.deepEqual(server.requests.splice(0), [READ, FIND, DRY_RUN]);
      assert.deepEqual([server.node.labels[LABEL], server.node.conditions], ['true', []]);
      (await pause(1)).end();
      await logged('node written');
      assert.deepEqual(server.requests, [READ, DRY_RUN, WRITE]);
      assert.equal(publisher.unready, undefined);
    });
  }
});

describe('a label of another boot', () => {
  /** A publisher of a Node that was proven in one boot, while the kubelet reports another. */
  const rebooted = (t: TestContext, proven: string, reported: string) =>
    publisherOf(t, {}, ({ node }) => {
      node.labels = { [LABEL]: 'true' };
      node.annotations = { [PROVEN_BY]: '0.1.0+a', [PROVEN_BOOT]: proven };
      node.conditions = [{ ...CONDITION, message: 'before' }];
      node.bootID = reported;
    });

  it('is withdrawn before the first report, and granted again with a proof', async (t) => {
    const { server, logged, publish, publisher, events, isReady } = await rebooted(t, OLD_BOOT, BOOT);
    const { node } = server;
    await logged('node written');
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['false', OLD_BOOT]);
    const { status, reason, message = '' } = node.conditions[0] ?? {};
    assert.deepEqual([status, reason], ['Unknown', 'NodeRebooted']);
    assert.match(message, /^gVisor was proven in the boot boot-1, and not yet .* boot-2\. What to do: Wait/);
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(READY_REPORT);
    assert.deepEqual([node.labels[LABEL], node.annotations], ['true', READY_NODE.annotations]);
    await isReady();
    assert.deepEqual(events(), ['NodeRebooted', 'SandboxProven']);
  });

  it('is granted, and the agent Ready, only once the kubelet reports the same boot', async (t) => {
    const { server, logged, tell, isReady } = await rebooted(t, OLD_BOOT, OLD_BOOT);
    const { node } = server;
    await watched(server);
    await logged('node written');
    tell(READY_REPORT);
    const { unready } = await logged('not ready: the rollout waits');
    assert.equal(unready, 'gVisor was proven in the boot boot-2, but the kubelet reports the boot boot-1');
    assert.equal(node.labels[LABEL], 'false');
    node.change((changing) => Object.assign(changing, { bootID: BOOT }));
    await logged('node written');
    assert.deepEqual([node.labels[LABEL], node.annotations[PROVEN_BOOT]], ['true', BOOT]);
    await isReady();
  });
});

describe('the label expected', () => {
  it('is never "false" while a label that was set by hand is withdrawn', async (t) => {
    const seen: (readonly (string | undefined)[])[] = [];
    const { server, publish } = await publisherOf(t, {}, ({ node }) => {
      node.labels = { [LABEL]: 'true' };
      const { onChange } = node;
      node.onChange = (type) => {
        seen.push([node.labels[LABEL], node.labels[EXPECTED]]);
        onChange(type);
      };
    });
    await watched(server);
    await publish(BARE);
    await waitUntil('the label', () => server.node.labels[EXPECTED] === 'false');
    assert.deepEqual(seen, [
      ['false', undefined],
      ['false', 'false'],
    ]);
  });
});

describe('isExpected', () => {
  for (const [labels, annotations, expected] of [
    [{}, {}, undefined],
    [{ [EXPECTED]: 'true' }, {}, true],
    [{ [EXPECTED]: 'false' }, {}, false],
    [{ [EXPECTED]: 'constructor' }, {}, undefined],
    [{ [EXPECTED]: 'false', [LABEL]: 'false' }, {}, false],
    [{ [EXPECTED]: 'false', [LABEL]: 'true' }, {}, true],
    [{ [EXPECTED]: 'false' }, { [PROVEN_BY]: '' }, true],
    [{ [LABEL]: 'false' }, {}, undefined],
  ] as const)
    it(`is ${expected} with ${JSON.stringify({ labels, annotations })}`, () =>
      assert.equal(isExpected({ labels, annotations }), expected));
});

describe('a rollout', () => {
  /** A publisher of a Node that another agent proved. */
  const provenByAnother = (t: TestContext) =>
    publisherOf(t, {}, ({ node }) => {
      node.annotations[PROVEN_BY] = '0.0.9+c';
    });

  it('waits if a node that another agent proved is not ready, and the verdict is written', async (t) => {
    const { server, publisher, publish, logged, isReady } = await provenByAnother(t);
    const { labels, annotations } = server.node;
    await watched(server);
    assert.equal(publisher.unready, 'no verdict has been published yet');
    await publish(BROKEN_REPORT);
    const { unready } = await logged('not ready: the rollout waits');
    assert.equal(unready, publisher.unready);
    assert.deepEqual([labels[LABEL], annotations[PROVEN_BY]], ['false', '0.0.9+c']);
    await publish(reportOf({ verdict: verdictOf('False', 'RunscNotFound') }));
    await waitUntil('the reason', () => publisher.unready?.includes('says RunscNotFound'));
    await publish(READY_REPORT);
    await isReady();
    assert.equal(annotations[PROVEN_BY], '0.1.0+a');
    await publish(BROKEN_REPORT);
    await waitUntil('the proof to be withdrawn', () => annotations[PROVEN_BY] === '');
    assert.equal(publisher.unready, undefined);
  });

  it('has the new agent write its own sentence, without an event', async (t) => {
    const { server, publish, events } = await publisherOf(t, {}, ({ node }) => {
      node.labels = { ...READY_NODE.labels };
      node.annotations = { [PROVEN_BY]: '0.0.9+c', [PROVEN_BOOT]: BOOT };
      node.conditions = [{ ...CONDITION, message: 'a sandbox of handler "another"' }];
    });
    await publish(READY_REPORT);
    assert.deepEqual([server.node.conditions[0]?.message, events()], ['SandboxProven', []]);
  });

  it('continues once the annotation is removed', async (t) => {
    const { server, publisher, publish, isReady } = await provenByAnother(t);
    await watched(server);
    await publish(BROKEN_REPORT);
    await waitUntil('the guard', () => publisher.unready?.startsWith('the node was proven by'));
    server.node.change(({ annotations }) => delete annotations[PROVEN_BY]);
    await isReady();
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('reports from the Node whether gVisor was ever proven, until the annotation is removed', async (t) => {
    const { server, publisher, publish, seen } = await publisherOf(t);
    const isProvenOnce = () => seen.get('runsc')?.provenOnce;
    const { node } = server;
    await watched(server);
    await publish(BROKEN_REPORT);
    await waitUntil('the Node to be read', () => isProvenOnce() === false);
    await publish(READY_REPORT);
    await waitUntil('the proof', () => isProvenOnce() === true);
    await publish(BROKEN_REPORT);
    await waitUntil('the withdrawal', () => node.annotations[PROVEN_BY] === '');
    assert.deepEqual([isProvenOnce(), publisher.unready], [true, undefined]);
    node.change(({ annotations }) => delete annotations[PROVEN_BY]);
    await waitUntil('the removal to be reported', () => isProvenOnce() === false);
    assert.equal(node.annotations[PROVEN_BY], undefined);
  });
});

/** A proof with a label that is not in the Node yet. */
const ON_KVM = reportOf({ ...READY_REPORT, facts: { ...READY_REPORT.facts, platform: 'kvm' } });

/** A publisher that has written once, and then failed this many times, `everyMs` apart. */
async function failing(t: TestContext, everyMs: number, times: number, report = ON_KVM) {
  const all = await readyPublisher(t);
  all.server.script.push(...Array(times).fill(FORBIDDEN));
  all.tell(report);
  const unreadyTexts: (string | undefined)[] = [];
  for (let index = 0; index < times; index++) {
    const { end } = await all.pause(1, index);
    unreadyTexts.push(all.publisher.unready);
    all.clock.nowMs += everyMs;
    if (index < times - 1) end();
  }
  return { ...all, unreadyTexts };
}

describe('an outage of writes', () => {
  const READ_FAILS = 'GET /api/v1/nodes/node-1: 403 nodes "node-1" is forbidden: no';

  it('makes the agent unready after five minutes, until a write succeeds', async (t) => {
    const { unreadyTexts, retry, server, isReady } = await failing(t, 75_000, 6);
    // The first attempt patches; each retry reads the Node first.
    const texts = [5, 6].map((minutes) => `the Node could not be written for ${minutes} min: ${READ_FAILS}`);
    assert.deepEqual(unreadyTexts, [...Array(4).fill(undefined), ...texts]);
    await retry();
    await isReady();
    assert.equal(server.node.labels[PLATFORM], 'kvm');
  });

  it('makes the agent unready before it shows while a label is not withdrawn', async (t) => {
    const { server, publisher, tell } = await readyPublisher(t);
    server.script.push('silence');
    tell(BROKEN_REPORT);
    assert.equal(publisher.unready, 'the label is not withdrawn from the Node yet');
  });

  it('makes the agent unready at once while a label is not withdrawn, and is in the report', async (t) => {
    const { unreadyTexts, publisher, retry, isReady, server } = await failing(t, 1_000, 2, BROKEN_REPORT);
    const patch = 'PATCH /api/v1/nodes/node-1/status: 403 nodes "node-1" is forbidden: no';
    const why = [patch, READ_FAILS].map((error) => `the label is not withdrawn from the Node yet: ${error}`);
    assert.deepEqual(unreadyTexts, why);
    assert.equal(publisher.nodeWrites.problem, READ_FAILS);
    await retry();
    await isReady();
    assert.deepEqual([publisher.nodeWrites.problem, server.node.labels[LABEL]], [undefined, 'false']);
  });

  it('ends when the Node is deleted', async (t) => {
    const { server, logged, waits } = await failing(t, 75_000, 6);
    server.node.delete();
    waits.at(-1)?.end();
    await logged('the node is gone: waiting for it to return');
    const from = waits.length;
    server.script.push(FORBIDDEN);
    server.node.recreate('uid-2');
    await waitUntil('the pause', () => waits.length > from);
    assert.equal(waits.at(-1)?.ms, 500);
    waits.at(-1)?.end();
    await logged('node written');
  });
});

describe('the watched Node', () => {
  it('is watched as a whole by its name, about an hour at a time', async (t) => {
    const { server } = await readyPublisher(t);
    const url = new URL(`https://api${server.watched[0]}`);
    assert.equal(url.pathname, '/api/v1/nodes');
    assert.deepEqual(Object.fromEntries(url.searchParams), {
      fieldSelector: 'metadata.name=node-1',
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: '0',
      timeoutSeconds: '3600',
    });
    assert.deepEqual(server.accepted, ['application/json']);
  });

  it('is awaited after its deletion, and labelled again when it is recreated', async (t) => {
    const { server, logged, changed, tell } = await readyPublisher(t);
    server.node.delete();
    await logged('the node is gone: waiting for it to return');
    tell(BROKEN_REPORT);
    tell(READY_REPORT);
    server.node.recreate('uid-2');
    await logged('node written');
    assert.deepEqual(server.requests, [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'true');
    const uids = changed.map(([, uid]) => uid);
    assert.deepEqual(uids, ['uid-1', 'uid-2']);
  });

  const unlabel = (node: FakeNode) => node.change(({ labels }) => delete labels[LABEL]);
  const recreate = (node: FakeNode) => node.recreate('uid-2');
  /** As after a restore of etcd. */
  const restore = (node: FakeNode) => node.restore({ [LABEL]: 'false' }, 0);
  const gone = `${JSON.stringify({ type: 'ERROR', object: statusObject(410, 'too old') })}\n`;
  for (const [what, end, act, requests, uid] of [
    ['changed after a watch that ended in time', '', unlabel, [WRITE], 'uid-1'],
    ['changed after a watch that was too old (410)', gone, unlabel, [WRITE], 'uid-1'],
    ['recreated between two watches', '', recreate, [READ, WRITE], 'uid-2'],
    ['older in a new watch', '', restore, [READ, WRITE], 'uid-1'],
  ] as const) {
    it(`is labelled again if it was ${what}`, async (t) => {
      const { server, logged, pause, changed } = await readyPublisher(t);
      server.endWatches(end);
      const { ms, end: wake } = await pause(500);
      assert.equal(ms, 1_000);
      act(server.node);
      wake();
      await logged('node written');
      assert.deepEqual(server.requests, requests);
      assert.equal(server.node.labels[LABEL], 'true');
      assert.deepEqual([server.watched.length, changed.at(-1)?.[1]], [2, uid]);
    });
  }

  it('is read if a new watch shows it as before a write that the last watch never showed', async (t) => {
    const { server, publish, logged, pause } = await publisherOf(t);
    await watched(server);
    server.node.onChange = () => {}; // the API server ends before its watch shows the write
    await publish(READY_REPORT);
    server.requests.length = 0;
    server.endWatches();
    const { end: wake } = await pause(500);
    server.node.restore({ [LABEL]: 'false' }, 1);
    wake();
    await logged('node written');
    assert.deepEqual(server.requests, [READ, WRITE]);
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it("is read again 30 s after a 404, which may be a proxy's", async (t) => {
    const silent = ({ watchScript }: FakeApiServer) => watchScript.push('silence');
    const { server, publish, logged, pause, clock, tell } = await publisherOf(t, {}, silent);
    await publish(READY_REPORT);
    server.script.push(refusedWith(404, 'not found'));
    tell(BROKEN_REPORT);
    await logged('the node does not exist: waiting for it');
    const { ms, end } = await pause(1);
    assert.equal(ms, 30_000);
    clock.nowMs += ms;
    end();
    await logged('node written');
    assert.equal(server.node.labels[LABEL], 'false');
  });

  it('is awaited without requests if it does not exist yet', async (t) => {
    const { server, publisher, logged, tell } = await publisherOf(t, {}, ({ node }) => node.delete());
    await watched(server);
    tell(READY_REPORT);
    await logged('the node does not exist: waiting for it');
    assert.match(publisher.unready ?? '', /^there is no Node "node-1": is NODE_NAME right\?$/);
    tell(READY_REPORT);
    assert.deepEqual(server.requests, [READ]);
    server.node.recreate('uid-1');
    await logged('node written');
    assert.deepEqual(server.requests, [READ, READ, FIND, DRY_RUN, WRITE]);
    assert.equal(publisher.unready, undefined);
  });

  it('is labelled, and watched with backoff, while watches are refused', async (t) => {
    const message =
      'nodes is forbidden: User "u" cannot watch resource "nodes" in API group "" at the cluster scope';
    const { server, logged, pause, pauses, publish } = await publisherOf(t, {}, ({ watchScript }) =>
      watchScript.push(...Array(9).fill(refusedWith(403, message))),
    );
    for (let time = 0; time < 9; time++) {
      const { err } = await logged('watch ended');
      assert.match((err as Error).message, /User "u" cannot watch resource "nodes"/);
      (await pause(1, time)).end();
    }
    assert.deepEqual(pauses(), [1, 2, 4, 8, 16, 20, 20, 20, 20]);
    await publish(READY_REPORT);
    assert.equal(server.node.labels[LABEL], 'true');
  });

  it('is watched without backoff if a proxy ends each watch after 50 s', async (t) => {
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
  const conditions = (...all: FakeCondition[]) => ({ conditions: all });
  for (const [what, act] of [
    ['a removed label', ({ labels }) => delete labels[LABEL]],
    ['a changed label', ({ labels }) => Object.assign(labels, { [LABEL]: 'false' })],
    ['a removed annotation', ({ annotations }) => delete annotations[PROVEN_BY]],
    ['a removed condition', (node) => Object.assign(node, conditions())],
    ['a forged condition', (node) => Object.assign(node, conditions({ ...CONDITION, reason: 'Forged' }))],
  ] as const satisfies readonly (readonly [string, (node: FakeNode) => unknown])[]) {
    it(`has ${what} restored with one request, without an event`, async (t) => {
      const { server, logged, changed } = await readyPublisher(t);
      const state = () => {
        const { labels, annotations, conditions } = server.node;
        return structuredClone({ labels, annotations, conditions });
      };
      const before = state();
      server.node.change(act);
      await logged(RESTORED);
      assert.deepEqual(state(), before);
      assert.deepEqual(server.requests, [WRITE]);
      assert.equal(changed.length, 1, 'no event');
    });
  }

  it('causes no request if another client changes its own values', async (t) => {
    const { server, publish } = await readyPublisher(t);
    server.node.change(({ labels }) => Object.assign(labels, { team: 'a' }));
    server.node.change((node) => Object.assign(node, { taints: [{ key: 'a', effect: 'NoSchedule' }] }));
    await publish(BROKEN_REPORT);
    assert.deepEqual(server.requests, [WRITE]);
    assert.equal(server.node.labels.team, 'a');
  });

  it('causes no request by a bookmark, which is not the Node', async (t) => {
    const { server, publish, pause } = await readyPublisher(t);
    const bookmark = { type: 'BOOKMARK', object: { kind: 'Node', metadata: { resourceVersion: '9' } } };
    server.endWatches(`${JSON.stringify(bookmark)}\n`);
    await pause(1); // after the end of the watch
    await publish(BROKEN_REPORT);
    assert.deepEqual(server.requests, [WRITE]);
  });

  it('is restored with backoff per key while another client keeps changing it', async (t) => {
    const { server, logged, pause, waits, clock } = await readyPublisher(t);
    for (const [count, pauseMs] of [0, 1_000, 2_000].entries()) {
      const from = waits.length;
      server.node.change(({ labels }) => delete labels[LABEL]);
      if (pauseMs > 0) {
        const { ms, end } = await pause(1, from);
        assert.deepEqual([ms, server.node.labels[LABEL]], [pauseMs, undefined]);
        clock.nowMs += ms;
        end();
      }
      assert.equal((await logged(RESTORED)).times, count + 1);
    }
    server.node.change(({ labels }) => delete labels[PLATFORM]); // another key is no part of it
    assert.equal((await logged(RESTORED)).key, PLATFORM);
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
  const TAINT = { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
  const other = { key: 'other', effect: 'NoExecute', value: 'a' };
  const tainting = (t: TestContext, taints = [other]) =>
    publisherOf(t, { taint: true }, ({ node }) => Object.assign(node, { taints }));

  it('stays on an unproven node, beside other taints, until the proof', async (t) => {
    const { server, publish, logged } = await tainting(t);
    await publish(BROKEN_REPORT);
    await logged('taint written');
    assert.deepEqual(server.requests, [READ, WRITE, WRITE_TAINT]);
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(UNKNOWN);
    assert.deepEqual(server.node.taints, [other, TAINT]);
    await publish(READY_REPORT);
    await logged('taint written');
    assert.deepEqual(server.node.taints, [other]);
  });

  it('is restored without removing other taints', async (t) => {
    const { server, publish, logged } = await tainting(t, []);
    await watched(server);
    await publish(BROKEN_REPORT);
    await logged('taint written');
    server.node.change((node) => Object.assign(node, { taints: [other] }));
    await logged(RESTORED);
    assert.deepEqual(server.node.taints, [other, TAINT]);
  });

  it('is not written over a newer Node, and the verdict sends one event', async (t) => {
    const { server, publish, tell, logged, retry, events } = await tainting(t, []);
    const { node } = server;
    await publish(READY_REPORT);
    node.onChange = () => {}; // the watch lags
    const patch = node.patch.bind(node);
    node.patch = (body) => {
      if (body.spec !== undefined) {
        node.patch = patch;
        node.change((changing) => Object.assign(changing, { taints: [other] }));
      }
      return patch(body);
    };
    tell(BROKEN_REPORT);
    assert.match(await retry(), /: 409 /);
    await logged('taint written');
    assert.deepEqual(node.taints, [other, TAINT]);
    assert.deepEqual(events(), ['SandboxProven', 'ShimNotFound']);
  });

  describe('that cannot be written', () => {
    /** A publisher whose writes of the taint are refused until `accept` is called. */
    async function refused(t: TestContext) {
      const setup = await tainting(t, []);
      await watched(setup.server);
      const { node } = setup.server;
      const patch = node.patch.bind(node);
      node.patch = (body) => (body.spec === undefined ? patch(body) : false);
      const accept = () => Object.assign(node, { patch });
      return { ...setup, accept };
    }

    it('does not lose the events of later verdicts', async (t) => {
      const { publish, tell, logged, waits, accept, events } = await refused(t);
      await publish(READY_REPORT);
      tell(BROKEN_REPORT);
      await logged('cannot write the node');
      accept();
      tell(READY_REPORT);
      waits.at(-1)?.end();
      await logged('node written');
      assert.deepEqual(events(), ['SandboxProven', 'ShimNotFound', 'SandboxProven']);
    });

    it('sends no event for a forged condition', async (t) => {
      const { server, tell, logged, waits, events } = await refused(t);
      tell(BROKEN_REPORT);
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
