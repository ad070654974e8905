import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import { CANARY_SELECTOR } from '../../controller/canaries.ts';
import { FleetController, type FleetTime } from '../../controller/controller.ts';
import { DAMPING_MS, TICK_MS } from '../../controller/decide.ts';
import { FleetMetrics } from '../../controller/metrics.ts';
import { waitFor } from '../../hack/run.ts';
import { AGENT_PORT } from '../../lib/kube/access.ts';
import { refusal, type StubResponse } from '../kubectl/fake-api.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { manifestGuards } from '../lib/fleet/manifest-guards.ts';
import { openApi } from '../lib/fleet/open-api.ts';
import { AT, PROVEN, provenNode, ready } from '../lib/fleet/proven-node.ts';
import { TIMEOUTS } from '../lib/fleet/simulated-fleet.ts';

const [NODES, PODS] = ['/api/v1/nodes', '/api/v1/namespaces/gvisor-ready/pods'];
const SETS = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets';
const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
const guards = manifestGuards();
const CLASS = {
  metadata: { name: 'gvisor' },
  handler: 'runsc',
  scheduling: { nodeSelector: { 'gvisor.node-restriction.kubernetes.io/ready': 'true' } },
};
const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';
const SET = { metadata: { name: 'gvisor-ready-agent' }, status: {} };
const INSTALLER = { metadata: { name: 'install' }, status: {} };
/** The key of the watch of the installer's pods, which has the path of the agents' pods. */
const INSTALLERS = `${PODS} of installers`;
const TIMEOUT_MS = 30_000;
const timeouts = { ...TIMEOUTS, agentTimeoutMs: TIMEOUT_MS };
const SETTINGS = { timeouts, reportIntervalMs: 300_000 };
const podOf = (node: string, isReady: boolean, address?: string) => ({
  ...daemonSetPod(node),
  ...runningStatus(isReady, address),
});

/** A pod of the installer that waits for its turn, or has begun it. */
const installerOn = (node: string, begun = false) => {
  const nodeSelectorTerms = [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }];
  const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } };
  return {
    metadata: {
      name: `install-${node}`,
      creationTimestamp: AT,
      ownerReferences: [{ kind: 'DaemonSet', name: INSTALLER.metadata.name, controller: true }],
    },
    spec: { affinity: { nodeAffinity }, ...(begun && { nodeName: node }) },
  };
};

/** Passes only in {@link pass}; ahead of the real clock, by which a watch has been up. */
class VirtualTime implements FleetTime {
  nowMs = performance.now() + DAMPING_MS;
  readonly #rests = new Set<{ readonly untilMs: number; readonly end: () => void }>();
  readonly clock = () => ({ nowMs: this.nowMs, wallMs: Date.parse(AT) + this.nowMs });
  readonly rest = (ms: number, signal: AbortSignal) =>
    new Promise<void>((end) => {
      this.#rests.add({ untilMs: this.nowMs + ms, end });
      signal.addEventListener('abort', () => end());
      if (signal.aborted) end();
    });

  pass(ms: number): void {
    this.nowMs += ms;
    for (const rest of [...this.#rests])
      if (rest.untilMs <= this.nowMs && this.#rests.delete(rest)) rest.end();
  }
}

/** Runs a controller of three nodes with Ready agents. What a test does to a node, it does to node-1. */
async function start(t: TestContext, taint = false) {
  const { api, kube: client } = await openApi(t);
  const time = new VirtualTime();
  const live = {
    node: provenNode('node-1'),
    agentReady: false,
    address: undefined as string | undefined,
    /** When the Node was read. */
    readsMs: [] as number[],
    meanwhile: async () => {},
    refusals: [] as StubResponse[],
    /** Whether the watch shows what is written to the Node. */
    isShown: true,
    /** What a list has, also if the watch shows other pods. */
    installers: [] as object[],
  };
  const watches = new Map<string, ServerResponse>();
  const ofInstallers = ({ searchParams }: URL) =>
    searchParams.get('fieldSelector')?.startsWith('spec.schedulerName');
  const ofCanaries = ({ searchParams }: URL) => searchParams.get('labelSelector') === CANARY_SELECTOR;
  api.onWatch = (url, response) => {
    if (!ofCanaries(url)) watches.set(ofInstallers(url) ? INSTALLERS : url.pathname, response);
  };
  let version = 7;
  const send = (path: string, object: { readonly metadata: object }, type = 'MODIFIED') => {
    const metadata = { ...object.metadata, resourceVersion: String(++version) };
    watches.get(path)?.write(`${JSON.stringify({ type, object: { ...object, metadata } })}\n`);
  };
  const setNode = (metadata: object, status: object = {}) => {
    const { node } = live;
    live.node = {
      ...node,
      metadata: { ...node.metadata, ...metadata },
      status: { ...node.status, ...status },
    };
    if (live.isShown) send(NODES, live.node);
  };
  const names = ['node-1', 'node-2', 'node-3'];
  api.list(NODES, names.map(provenNode));
  api.list(SETS, [SET, INSTALLER]);
  api.list(`${ADMISSION}/validatingadmissionpolicies`, guards.policies);
  api.list(`${ADMISSION}/validatingadmissionpolicybindings`, guards.bindings);
  api.list('/api/v1/namespaces', [{ metadata: { name: 'eval' } }]);
  api.list(CLASSES, [CLASS]);
  const agents = { items: names.map((name) => podOf(name, true)), metadata: { resourceVersion: '1' } };
  api.stubs.set(PODS, (url: URL) => {
    if (ofCanaries(url)) return { items: [], metadata: { resourceVersion: '1' } };
    if (ofInstallers(url)) return { items: live.installers, metadata: { resourceVersion: '1' } };
    const isLive = url.searchParams.has('fieldSelector');
    return isLive ? { items: [podOf('node-1', live.agentReady, live.address)] } : agents;
  });
  api.stubs.set(`${NODES}/node-1`, async () => {
    live.readsMs.push(time.nowMs);
    await live.meanwhile();
    return live.node;
  });
  api.stubs.set(`${NODES}/node-1/status`, (_: URL, body: string) => {
    const refusal = live.refusals.shift();
    const { labels } = JSON.parse(body).metadata;
    if (refusal === undefined) setNode({ labels });
    return refusal ?? live.node;
  });

  let requests = 0;
  const counted =
    <Given extends unknown[]>(send: (...given: Given) => Promise<unknown>) =>
    (...given: Given) => {
      requests++;
      return send(...given).finally(() => requests--);
    };
  const [get, patch, post] = [counted(client.get), counted(client.patch), counted(client.post)];
  const kube = { ...client, get, patch, post };
  const logged: { readonly msg: string; readonly because?: string }[] = [];
  const log = pino({}, { write: (line: string) => logged.push(JSON.parse(line)) });
  const metrics = new FleetMetrics();
  const fleet = new FleetController({
    kube,
    namespace: 'gvisor-ready',
    log,
    settings: { ...SETTINGS, taint },
    metrics,
    time,
  });
  /** Lets time pass, though not during a request, until this holds. */
  const until = (what: string, holds: () => boolean) =>
    waitFor(what, 20_000, async () => holds() || void (requests === 0 && time.pass(TICK_MS)), 5);
  const stop = new AbortController();
  const running = fleet.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  await until('the first decision', () => fleet.ready);
  const has = (text: string) => logged.some(({ msg }) => msg.startsWith(text));
  const outcomes = () =>
    logged.filter(({ msg }) => msg.startsWith('label ')).map(({ msg, because = '' }) => `${msg} ${because}`);
  const bindings = () => api.requests.filter((request) => request.endsWith('/binding'));
  /** Lets this many ticks pass, and the requests that they cause end. */
  const tick = async (times: number) => {
    for (let passed = 0; passed < times; passed++) {
      time.pass(TICK_MS);
      await setImmediate();
      await waitFor('the requests to end', 20_000, async () => requests === 0, 5);
    }
  };
  return { api, fleet, time, live, send, setNode, until, tick, has, outcomes, bindings };
}

const lost = podOf('node-1', false);

describe('FleetController', () => {
  it('asks the circuit breaker again right before it withdraws a label', async (t) => {
    const { api, time, live, send, until, has, outcomes } = await start(t);
    live.meanwhile = async () => {
      send(SETS, SET, 'DELETED');
      await waitFor('the breaker', 20_000, async () => has('circuit breaker open') || time.pass(TICK_MS), 5);
    };
    send(PODS, lost);
    await until('an outcome', () => outcomes().length > 0);
    assert.deepEqual([outcomes(), api.patched], [['label kept the circuit breaker opened'], []]);
  });

  it('withdraws the label that a Ready agent refutes, and says so first until then', async (t) => {
    const { api, fleet, live, send, until, outcomes } = await start(t);
    const verdict = { status: 'False', reason: 'RunscNotFound', message: 'm' };
    const report = { version: '0.1.0', node: 'node-1', verdict, nodeWrites: { problem: '401 Unauthorized' } };
    const agent = createServer((_, response) => response.end(JSON.stringify(report)));
    agent.listen(AGENT_PORT, '127.0.0.245');
    await once(agent, 'listening');
    t.after(() => agent.close());
    [live.agentReady, live.address] = [true, '127.0.0.245'];
    send(PODS, podOf('node-1', true, live.address));
    await until('the alarm', () => fleet.view.alarms.length > 0);
    const [{ reason, nodes } = {}] = fleet.view.alarms;
    assert.deepEqual([reason, nodes], ['LabelOutdated', ['node-1']]);
    await until('an outcome', () => outcomes().length > 0);
    assert.deepEqual(outcomes(), ['label withdrawn ']);
    assert.match(JSON.stringify(api.patched), /AgentCannotWrite.*401 Unauthorized/);
  });

  it('remembers its withdrawals for six hours, and counts them in the circuit breaker', async (t) => {
    const { api, time, send, setNode, until, has, outcomes } = await start(t);
    for (const [at, seconds] of [30, 60, 120, 30].entries()) {
      if (at === 3) time.pass(DAMPING_MS);
      setNode(provenNode('node-1').metadata);
      send(PODS, podOf('node-1', true));
      send(PODS, lost);
      await until('a withdrawal', () => outcomes().length > at);
      const { status } = api.patched[at] as { status: { conditions: [{ message: string }] } };
      assert.match(status.conditions[0].message, new RegExp(`Ready for ${seconds} s,`));
    }
    send(PODS, podOf('node-2', false));
    await until('the breaker', () => has('circuit breaker open'));
  });

  it('withdraws the failure of a lost agent, and counts it as no label', async (t) => {
    const { api, send, setNode, until, has, outcomes } = await start(t);
    setNode({ labels: {} }, { conditions: [ready('True'), { ...PROVEN, status: 'False', reason: 'Any' }] });
    send(PODS, lost);
    await until('the withdrawal', () => has('failure withdrawn'));
    assert.deepEqual(outcomes(), []);
    assert.match(JSON.stringify(api.patched), /AgentLost.*so a repair of gVisor would go unnoticed/);
  });

  it('writes a Node no second time before the watch can show the first', async (t) => {
    const { live, setNode, until, tick, outcomes } = await start(t);
    setNode({}, { nodeInfo: { bootID: 'boot-2' } });
    live.isShown = false;
    await until('the withdrawal', () => outcomes().length > 0);
    await tick(1);
    assert.equal(live.readsMs.length, 1);
  });

  it('begins the turn of an installer by a fresh list, whatever the watch shows', async (t) => {
    const { fleet, live, send, until, tick, bindings } = await start(t);
    // Another controller has begun the turn of node-2.
    live.installers = [installerOn('node-1'), installerOn('node-2', true)];
    for (const node of ['node-1', 'node-2']) send(INSTALLERS, installerOn(node), 'ADDED');
    await until('the queue', () => fleet.view.rollout?.waiting?.length === 2);
    await tick(3);
    assert.deepEqual(bindings(), []);
    live.installers = [installerOn('node-1'), installerOn('node-2')];
    await until('the turn', () => bindings().length > 0);
    assert.deepEqual(bindings(), [`POST ${PODS}/install-node-1/binding`]);
  });

  it('begins no turn of an installer while a watch is down', async (t) => {
    const { api, fleet, live, send, until, tick, bindings } = await start(t);
    api.stubs.set(`watch ${SETS}`, refusal(503, 'overloaded'));
    send(SETS, Object.assign({ metadata: {} }, { code: 410, message: 'too old resource version' }), 'ERROR');
    await until('the alarm', () => fleet.view.alarms.some(({ reason }) => reason === 'WatchesDown'));
    live.installers = [installerOn('node-1')];
    send(INSTALLERS, installerOn('node-1'), 'ADDED');
    await until('the queue', () => fleet.view.rollout?.waiting?.length === 1);
    await tick(3);
    assert.deepEqual(bindings(), []);
    api.stubs.delete(`watch ${SETS}`);
    await until('the turn', () => bindings().length > 0);
  });

  it('restarts the timer of a label that a live read kept', async (t) => {
    const { live, send, until, outcomes } = await start(t);
    live.agentReady = true;
    send(PODS, lost);
    await until('the first try', () => outcomes().length === 1);
    live.agentReady = false;
    await until('the second try', () => outcomes().length === 2);
    assert.deepEqual(outcomes(), ['label kept the agent agent-node-1 is Ready', 'label withdrawn ']);
    const [first = 0, second = 0] = live.readsMs;
    assert.ok(second - first >= TIMEOUT_MS, `after ${second - first} ms`);
  });

  for (const [status, isAlarm, pauses] of [
    [403, true, [6, 10, 20, 40, 80, 160, 320, 600, 600]], // the first ends with the tick after 5 s
    [409, false, [0, 0]],
  ] as const)
    it(`tries a write that was refused with ${status} again after ${pauses.join(', ')} s`, async (t) => {
      t.mock.method(Math, 'random', () => 0.5);
      const { fleet, live, send, until, has, outcomes } = await start(t);
      live.refusals.push(...pauses.map(() => refusal(status, 'refused')));
      send(PODS, lost);
      await until('the failure', () => has('cannot write the node'));
      assert.deepEqual(fleet.view.cannotWrite, isAlarm ? ['node-1'] : []);
      await until('the withdrawal', () => outcomes().length > 0);
      const seconds = live.readsMs.map((atMs, index) => (atMs - (live.readsMs[index - 1] ?? 0)) / 1_000);
      assert.deepEqual(seconds.slice(1), pauses);
      assert.deepEqual(fleet.view.cannotWrite, []);
    });

  it('forgets a failed write that is not wanted any more, and its pauses', async (t) => {
    t.mock.method(Math, 'random', () => 0.5);
    const { fleet, live, send, until } = await start(t);
    live.refusals.push(...[1, 2, 3, 4, 5].map(() => refusal(403, 'refused')));
    send(PODS, lost);
    await until('three tries', () => live.readsMs.length === 3);
    await until('the failure', () => fleet.view.cannotWrite.length === 1);
    send(PODS, podOf('node-1', true));
    await until('the end of it', () => fleet.view.cannotWrite.length === 0);
    send(PODS, lost);
    await until('two more tries', () => live.readsMs.length === 5);
    const [fourth = 0, fifth = 0] = live.readsMs.slice(3);
    assert.equal(fifth - fourth, 6_000);
  });

  for (const [what, taint, status, patch] of [
    ['withdraws the label of an earlier boot', false, { nodeInfo: { bootID: 'boot-2' } }, /NodeRebooted/],
    ['taints a node that is not Ready', true, { conditions: [ready('Unknown'), PROVEN] }, /"taints":/],
  ] as const)
    it(`${what} at once, even if the circuit breaker is open`, async (t) => {
      const { api, time, send, setNode, until, has } = await start(t, taint);
      send(SETS, SET, 'DELETED');
      await until('the breaker', () => has('circuit breaker open'));
      const { nowMs } = time;
      setNode({}, status);
      await waitFor('the write', 20_000, async () => api.patched.length > 0);
      assert.match(JSON.stringify(api.patched[0]), patch);
      assert.equal(time.nowMs, nowMs);
    });

  it('has an alarm within half a minute of a class that goes, and of guards that it cannot read', async (t) => {
    const { api, fleet, time, until } = await start(t);
    const alarms = () => fleet.view.alarms.map(({ reason, severity }) => `${severity} ${reason}`).join();
    const within = async (what: string, expected: string) => {
      const { nowMs } = time;
      await until(what, () => alarms() === expected);
      assert.ok(time.nowMs - nowMs <= 30_000, `after ${time.nowMs - nowMs} ms`);
    };
    await until('the guards', () => fleet.view.guards !== undefined);
    assert.equal(alarms(), '');
    api.list(CLASSES, [{ ...CLASS, handler: 'runc' }]);
    await within('the alarm', 'critical GuardMissing');
    api.list(CLASSES, [CLASS]);
    await within('the end of the alarm', '');
    const requiring = (labelSelector: string, names: readonly string[]) =>
      api.list(
        `/api/v1/namespaces?labelSelector=${labelSelector}`,
        names.map((name) => ({ metadata: { name } })),
      );
    requiring('gvisor-ready.dev/require=true', []);
    requiring('!gvisor-ready.dev/require', ['other']);
    await until('the requirement', () => fleet.view.guards?.isRequired === false);
    assert.equal(alarms(), '');
    requiring('!gvisor-ready.dev/require', ['eval', 'other']);
    await within('the namespace that was made again', 'critical RequirementLifted');
    requiring('gvisor-ready.dev/require=true', ['eval']);
    requiring('!gvisor-ready.dev/require', ['other']);
    await within('its label', '');
    api.stubs.set(CLASSES, refusal(403, 'forbidden'));
    await within('the refusal', 'warning GuardsUnread');
  });

  it('is live while it decides', async (t) => {
    const { fleet, time, until } = await start(t);
    assert.equal(fleet.live, true);
    time.nowMs += 30_000;
    assert.equal(fleet.live, false);
    await until('a decision', () => fleet.live);
  });
});
