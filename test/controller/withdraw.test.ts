import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { V1Node } from '@kubernetes/client-node';
import {
  taintExposed,
  type WithdrawOptions,
  withdraw,
  withdrawRebooted,
  withdrawRefuted,
} from '../../controller/withdraw.ts';
import { fleetNodeOf } from '../../lib/fleet/objects.ts';
import { handlerKey, OWN_KEYS } from '../../lib/report/node-object.ts';
import { daemonSetPod, runningStatus } from '../lib/fleet/agent-pod.ts';
import { openApi } from '../lib/fleet/open-api.ts';
import { AT, PROVEN, provenNode, ready } from '../lib/fleet/proven-node.ts';

const KVM = handlerKey('ready', 'runsc-kvm');
const NODE = provenNode('node-1');
const CACHED = fleetNodeOf(NODE as unknown as V1Node);

/** The pod of an agent whose container runs. */
const agentPod = (isReady: boolean) => ({ ...daemonSetPod('node-1'), ...runningStatus(isReady, '10.0.0.7') });

/** An API server with this Node and this pod. */
async function serve(t: TestContext, node: object, pods: readonly object[] = [agentPod(false)]) {
  const { api, kube } = await openApi(t);
  for (const path of ['/api/v1/nodes/node-1', '/api/v1/nodes/node-1/status']) api.stubs.set(path, node);
  api.list('/api/v1/namespaces/gvisor-ready/pods', pods);
  const options: WithdrawOptions = {
    kube,
    timeoutMs: 900_000,
    isAgentLive: async () => false,
    namespace: 'gvisor-ready',
    isAllowed: () => true,
    wallMs: () => Date.parse(AT),
    signal: new AbortController().signal,
  };
  return { api, options };
}

const changed = (metadata: object, status: object = {}) => ({
  ...NODE,
  metadata: { ...NODE.metadata, ...metadata },
  status: { ...NODE.status, ...status },
});

/** The metadata of a patch that is bound to the version that was read. */
const bound = (labels: object) => ({ uid: NODE.metadata.uid, resourceVersion: '7', labels });

/** The labels and the reason that a patch writes. */
const patchOf = (body: unknown) => {
  const { metadata, status } = body as {
    metadata: { labels?: object };
    status?: { conditions: readonly [{ status: string; reason: string }] };
  };
  return [metadata.labels, status?.conditions[0].reason];
};

describe('withdraw', () => {
  it('writes label and condition in one patch, bound to the version that was read', async (t) => {
    const { api, options } = await serve(t, NODE);
    const done = await withdraw(CACHED, options);
    assert.ok('message' in done);
    assert.match(done.message, /^no agent on this node was Ready for 900 s/);
    const [body] = api.patched;
    const { metadata, status } = body as { metadata: object; status: { conditions: (typeof PROVEN)[] } };
    assert.ok(api.requests.includes('PATCH /api/v1/nodes/node-1/status'), api.requests.join());
    assert.deepEqual(metadata, bound({ [OWN_KEYS.labels.ready]: 'false' }));
    assert.deepEqual(
      status.conditions.map(({ type, status: value, reason }) => [type, value, reason]),
      [['GVisorReady', 'Unknown', 'AgentLost']],
    );
  });

  const OTHER = handlerKey('ready', 'other');

  it('writes the labels of additional handlers in the same patch', async (t) => {
    const labels = { ...NODE.metadata.labels, [KVM]: 'true', [OTHER]: 'false' };
    const { api, options } = await serve(t, changed({ labels }));
    await withdraw(CACHED, options);
    const [{ metadata, status }] = api.patched as [{ metadata: { labels: object }; status?: object }];
    assert.deepEqual(metadata.labels, { [OWN_KEYS.labels.ready]: 'false', [KVM]: 'false' });
    assert.notEqual(status, undefined);
  });

  const LABELLED = { [KVM]: 'true' };
  const REVOKED = { [KVM]: 'false' };
  for (const [what, status, labels, breaker, written] of [
    ['an additional handler beside True', 'True', LABELLED, 'closed', [REVOKED, undefined]],
    ['an additional handler and a failure', 'False', LABELLED, 'closed', [REVOKED, 'AgentLost']],
    ['a failure beside a label', 'False', LABELLED, 'open', [undefined, 'AgentLost']],
    ['a failure alone', 'False', {}, 'closed', [undefined, 'AgentLost']],
  ] as const)
    it(`withdraws ${what}, if the circuit breaker is ${breaker}`, async (t) => {
      const own = { ...PROVEN, status, reason: 'AnyReason' };
      const all = { [OWN_KEYS.labels.ready]: 'false', ...labels };
      const { api, options } = await serve(t, changed({ labels: all }, { conditions: [ready('True'), own] }));
      const done = await withdraw(CACHED, { ...options, isAllowed: () => breaker === 'closed' });
      assert.match('message' in done ? done.message : '', /^no agent .* What to do: /);
      assert.deepEqual(api.patched.map(patchOf), [written]);
    });

  it('keeps a failure where gVisor is not expected', async (t) => {
    const labels = { [OWN_KEYS.labels.ready]: 'false', [OWN_KEYS.labels.expected]: 'false' };
    const broken = { ...PROVEN, status: 'False', reason: 'HandlerNotConfigured' };
    const { api, options } = await serve(t, changed({ labels }, { conditions: [ready('True'), broken] }));
    assert.deepEqual(
      [await withdraw(CACHED, options), api.patched],
      [{ kept: 'the label is no longer "true"' }, []],
    );
  });

  for (const [kept, node, pods, changes] of [
    ['the Node was recreated', changed({ uid: 'another' }), undefined, {}],
    ['the label is no longer "true"', changed({ labels: {} }), undefined, {}],
    ['the Node is not Ready', changed({}, { conditions: [ready('Unknown'), PROVEN] }), undefined, {}],
    ['the agent agent-node-1 is Ready', NODE, [agentPod(true)], {}],
    ['the agent agent-node-1 answers, but is not Ready', NODE, undefined, { isAgentLive: async () => true }],
    ['the circuit breaker opened', NODE, undefined, { isAllowed: () => false }],
  ] as const)
    it(`keeps the label when ${kept}`, async (t) => {
      const { api, options } = await serve(t, node, pods);
      assert.deepEqual(await withdraw(CACHED, { ...options, ...changes }), { kept });
      assert.deepEqual(api.patched, []);
    });
});

describe('withdrawRefuted', () => {
  const said = (status: string, reason: string) => ({ status, reason, message: 'm' });
  const BROKEN = said('False', 'RunscNotFound');
  const PROVES = said('True', 'SandboxProven');
  const reportOf = (verdict: object, changes: object = {}) => ({
    node: 'node-1',
    verdict,
    nodeWrites: { problem: 'PATCH /api/v1/nodes/node-1/status: 401 Unauthorized' },
    ...changes,
  });
  const WITHDRAWN = changed(
    { labels: { [OWN_KEYS.labels.ready]: 'false' } },
    { conditions: [ready('True'), { ...PROVEN, status: 'Unknown', reason: 'AgentCannotWrite' }] },
  );
  const FAILED = changed(
    { labels: { [OWN_KEYS.labels.ready]: 'false' } },
    { conditions: [ready('True'), { ...PROVEN, ...BROKEN }] },
  );
  /** Withdraws what these reports of the agents on the node refute. */
  async function withdrawn(t: TestContext, reports: readonly unknown[], node: object = NODE) {
    const { api, options } = await serve(
      t,
      node,
      reports.map(() => agentPod(true)),
    );
    const left = [...reports];
    const fetchReport = async () => left.shift();
    return { api, done: await withdrawRefuted(CACHED, { ...options, fetchReport }) };
  }

  it('withdraws label and condition, and says what the agent says and why it cannot write', async (t) => {
    const { api, done } = await withdrawn(t, [reportOf(BROKEN)]);
    assert.match(
      'message' in done ? done.message : '',
      /^the agent says RunscNotFound, and cannot write its Node: PATCH .*: 401 Unauthorized\. What to do: .*delete its pod/,
    );
    const [{ metadata, status }] = api.patched as [{ metadata: object; status: { conditions: object[] } }];
    assert.deepEqual(metadata, bound({ [OWN_KEYS.labels.ready]: 'false' }));
    assert.match(JSON.stringify(status.conditions), /"Unknown","reason":"AgentCannotWrite"/);
  });

  it('withdraws the label of the handler that is refuted, and no other', async (t) => {
    const node = changed({ labels: { ...NODE.metadata.labels, [KVM]: 'true' } });
    const handlers = [{ handler: 'runsc-kvm', verdict: BROKEN }];
    const { api } = await withdrawn(t, [reportOf(PROVES, { handlers })], node);
    const [{ metadata }] = api.patched as [{ metadata: { labels: object } }];
    assert.deepEqual(metadata.labels, { [KVM]: 'false' });
  });

  it('withdraws a condition that the agent refutes, whatever it says', async (t) => {
    const noted = { [OWN_KEYS.labels.ready]: 'false' };
    for (const [status, reason, verdict] of [
      ['False', 'ShimNotFound', PROVES],
      ['False', 'ShimNotFound', BROKEN],
      ['False', 'ShimNotFound', said('Unknown', 'ContainerdUnreachable')],
      ['True', 'SandboxProven', BROKEN],
    ] as const) {
      const condition = { ...PROVEN, status, reason };
      const node = changed({ labels: noted }, { conditions: [ready('True'), condition] });
      const { api } = await withdrawn(t, [reportOf(verdict)], node);
      assert.deepEqual(api.patched.map(patchOf), [[undefined, 'AgentCannotWrite']], `${status} ${reason}`);
    }
  });

  for (const [what, reports, node] of [
    ['the agent says the same failure', [reportOf(BROKEN)], FAILED],
    ['another agent says the same failure', [reportOf(PROVES), reportOf(BROKEN)], FAILED],
    ['the agent proves the node again', [reportOf(PROVES)], NODE],
    ['the agent has just started', [reportOf(said('Unknown', 'AgentStarting'))], NODE],
    ['the report is of another node', [reportOf(BROKEN, { node: 'node-2' })], NODE],
    ['the report is none', ['<html>'], NODE],
    ['another agent on the node proves it', [reportOf(BROKEN), reportOf(PROVES)], NODE],
    ['no agent has an address', [], NODE],
    ['another controller withdrew it', [reportOf(BROKEN)], WITHDRAWN],
    ['the Node was recreated', [reportOf(BROKEN)], changed({ uid: 'another' })],
    ['the Node is not Ready', [reportOf(BROKEN)], changed({}, { conditions: [ready('Unknown'), PROVEN] })],
  ] as const)
    it(`keeps all where ${what}`, async (t) => {
      const { api, done } = await withdrawn(t, reports, node);
      assert.deepEqual(['kept' in done, api.patched], [true, []]);
    });
});

describe('withdrawRebooted', () => {
  const rebooted = changed({}, { nodeInfo: { bootID: 'boot-2' } });

  it('withdraws the label of an earlier boot, even with a Ready agent', async (t) => {
    const { api, options } = await serve(t, rebooted, [agentPod(true)]);
    assert.ok('message' in (await withdrawRebooted(CACHED, options)));
    assert.equal(api.patched.length, 1);
  });

  it('withdraws only the labels of an earlier boot, and says of which handler', async (t) => {
    const [stale, fresh, unknown] = ['stale', 'fresh', 'unknown'];
    const labels = Object.fromEntries(
      [stale, fresh, unknown].map((each) => [handlerKey('ready', each), 'true']),
    );
    const annotations = {
      ...NODE.metadata.annotations,
      [handlerKey('provenBoot', stale)]: 'boot-0',
      [handlerKey('provenBoot', fresh)]: 'boot-1',
    };
    const ofHandler = changed({ labels: { ...NODE.metadata.labels, ...labels }, annotations });
    const { api, options } = await serve(t, ofHandler);
    const done = await withdrawRebooted(CACHED, options);
    assert.match(
      'message' in done ? done.message : '',
      /^handler "stale": gVisor was proven in the boot boot-0, and not yet in the present one, boot-1/,
    );
    assert.deepEqual(api.patched, [{ metadata: bound({ [handlerKey('ready', stale)]: 'false' }) }]);
  });

  it('withdraws a failure of an earlier boot, and keeps one of the present boot', async (t) => {
    for (const [boot, written] of [
      ['boot-0', [[undefined, 'NodeRebooted']]],
      ['boot-1', []],
    ] as const) {
      const annotations = { [OWN_KEYS.annotations.failedBoot]: boot };
      const broken = { ...PROVEN, status: 'False', reason: 'ShimNotFound' };
      const node = changed({ labels: {}, annotations }, { conditions: [ready('True'), broken] });
      const { api, options } = await serve(t, node, [agentPod(true)]);
      const done = await withdrawRebooted(CACHED, options);
      assert.deepEqual(api.patched.map(patchOf), written);
      if ('message' in done)
        assert.match(done.message, /^gVisor failed in the boot boot-0, .* the present one, boot-1\. What/);
    }
  });

  it('keeps the label once the present boot is proven', async (t) => {
    const { api, options } = await serve(t, NODE);
    assert.deepEqual(await withdrawRebooted(CACHED, options), {
      kept: 'the label is no longer of an earlier boot',
    });
    assert.deepEqual(api.patched, []);
  });
});

describe('taintExposed', () => {
  const notReady = changed({}, { conditions: [ready('Unknown'), PROVEN] });

  it('adds the taint beside others, bound to the version that was read', async (t) => {
    const other = { key: 'other', effect: 'NoExecute' };
    const { api, options } = await serve(t, { ...notReady, spec: { taints: [other] } });
    assert.equal(await taintExposed(CACHED, options), true);
    assert.deepEqual(api.patched[0], {
      metadata: { resourceVersion: '7' },
      spec: { taints: [other, { key: OWN_KEYS.taint, effect: 'NoSchedule' }] },
    });
  });

  it('writes nothing to a node that is Ready again, or was recreated', async (t) => {
    for (const node of [NODE, changed({ uid: 'another' }, { conditions: [ready('Unknown'), PROVEN] })]) {
      const { api, options } = await serve(t, node);
      assert.equal(await taintExposed(CACHED, options), false);
      assert.deepEqual(api.patched, []);
    }
  });
});
