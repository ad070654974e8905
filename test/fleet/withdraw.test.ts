import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import type { V1Node } from '@kubernetes/client-node';
import { createKube } from '../../agent/kube/client.ts';
import { OWN_KEYS } from '../../agent/node/object.ts';
import { fleetNodeOf } from '../../fleet/objects.ts';
import { taintExposed, type WithdrawOptions, withdraw, withdrawRebooted } from '../../fleet/withdraw.ts';
import { daemonSetPod, runningContainers } from './agent-pod.ts';
import { TIMEOUTS } from './simulated-fleet.ts';

const AT = '2026-11-25T12:00:00Z';
const CONDITION = { lastHeartbeatTime: AT, lastTransitionTime: AT, message: 'm' };
const PROVEN = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven', ...CONDITION };
const ready = (status: string) => ({ type: 'Ready', status, reason: 'r', ...CONDITION });

/** A proven, Ready node that is a day old. */
const NODE = {
  metadata: {
    name: 'node-1',
    uid: 'u',
    resourceVersion: '7',
    creationTimestamp: '2026-11-24T12:00:00Z',
    labels: { [OWN_KEYS.labels.ready]: 'true' },
    annotations: { [OWN_KEYS.annotations.provenBoot]: 'boot-1' },
  },
  spec: {},
  status: { nodeInfo: { bootID: 'boot-1' }, conditions: [ready('True'), PROVEN] },
};
const CACHED = fleetNodeOf(NODE as unknown as V1Node);

/** The pod of an agent whose container runs. */
function agentPod(isReady: boolean) {
  const status = {
    phase: 'Running',
    podIP: '10.0.0.7',
    containerStatuses: runningContainers(isReady),
    conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }],
  };
  return { ...daemonSetPod('node-1', 'one'), status };
}

/** An API server with this Node and this pod; collects the patches of the Node. */
async function serve(t: TestContext, node: unknown, pods: readonly unknown[] = [agentPod(false)]) {
  const patches: { readonly path: string | undefined; readonly body: unknown }[] = [];
  const server = createServer(async (request, response) => {
    const { method, url } = request;
    if (method === 'PATCH') patches.push({ path: url, body: JSON.parse(await text(request)) });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(url?.includes('/pods') ? { items: pods } : node));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kube = createKube({ server: origin }, { agent: 'test', count: () => {} });
  t.after(async () => {
    await kube.close();
    server.close();
  });
  const options: WithdrawOptions = {
    kube,
    timeouts: TIMEOUTS,
    isAgentLive: async () => false,
    isAllowed: () => true,
    wallMs: () => Date.parse(AT),
    signal: new AbortController().signal,
  };
  return { options, patches };
}

const changed = (metadata: object, status: object = {}) => ({
  ...NODE,
  metadata: { ...NODE.metadata, ...metadata },
  status: { ...NODE.status, ...status },
});

describe('withdraw', () => {
  it('writes label and condition in one patch, bound to the version that was read', async (t) => {
    const { options, patches } = await serve(t, NODE);
    const done = await withdraw(CACHED, options);
    assert.ok('message' in done);
    assert.match(done.message, /^no agent on this node was Ready for 90 s/);
    const [{ path, body } = { path: undefined, body: undefined }] = patches;
    const { metadata, status } = body as { metadata: object; status: { conditions: (typeof PROVEN)[] } };
    assert.equal(path, '/api/v1/nodes/node-1/status');
    assert.deepEqual(metadata, {
      uid: 'u',
      resourceVersion: '7',
      labels: { [OWN_KEYS.labels.ready]: 'false' },
    });
    assert.deepEqual(
      status.conditions.map(({ type, status: value, reason }) => [type, value, reason]),
      [['GVisorReady', 'Unknown', 'AgentLost']],
    );
  });

  it('keeps a condition that is not True', async (t) => {
    const broken = { ...PROVEN, status: 'False', reason: 'ShimNotFound' };
    const { options, patches } = await serve(t, changed({}, { conditions: [ready('True'), broken] }));
    await withdraw(CACHED, options);
    assert.deepEqual(
      patches.map(({ body }) => Object.keys(body as object)),
      [['metadata']],
    );
  });

  for (const [kept, node, pods, changes] of [
    ['the Node was recreated', changed({ uid: 'another' }), undefined, {}],
    ['the label is no longer "true"', changed({ labels: {} }), undefined, {}],
    ['the Node is not Ready', changed({}, { conditions: [ready('Unknown'), PROVEN] }), undefined, {}],
    ['the Node is too young', changed({ creationTimestamp: '2026-11-25T11:56:00Z' }), undefined, {}],
    ['the agent agent-node-1 is Ready', NODE, [agentPod(true)], {}],
    ['the agent agent-node-1 answers, but is not Ready', NODE, undefined, { isAgentLive: async () => true }],
    ['the circuit breaker opened', NODE, undefined, { isAllowed: () => false }],
  ] as const)
    it(`keeps the label when ${kept}`, async (t) => {
      const { options, patches } = await serve(t, node, pods);
      assert.deepEqual(await withdraw(CACHED, { ...options, ...changes }), { kept });
      assert.deepEqual(patches, []);
    });
});

describe('withdrawRebooted', () => {
  const rebooted = changed({}, { nodeInfo: { bootID: 'boot-2' } });

  it('withdraws the label of an earlier boot, even with a Ready agent', async (t) => {
    const { options, patches } = await serve(t, rebooted, [agentPod(true)]);
    assert.ok('message' in (await withdrawRebooted(CACHED, options)));
    assert.equal(patches.length, 1);
  });

  it('keeps the label once the present boot is proven', async (t) => {
    const { options, patches } = await serve(t, NODE);
    assert.deepEqual(await withdrawRebooted(CACHED, options), {
      kept: 'the label is no longer of an earlier boot',
    });
    assert.deepEqual(patches, []);
  });
});

describe('taintExposed', () => {
  const notReady = changed({}, { conditions: [ready('Unknown'), PROVEN] });

  it('adds the taint beside others, bound to the version that was read', async (t) => {
    const other = { key: 'other', effect: 'NoExecute' };
    const { options, patches } = await serve(t, { ...notReady, spec: { taints: [other] } });
    assert.equal(await taintExposed(CACHED, options), true);
    assert.deepEqual(patches[0]?.body, {
      metadata: { resourceVersion: '7' },
      spec: { taints: [other, { key: OWN_KEYS.taint, effect: 'NoSchedule' }] },
    });
  });

  it('writes nothing to a node that is Ready again, or was recreated', async (t) => {
    for (const node of [NODE, changed({ uid: 'another' }, { conditions: [ready('Unknown'), PROVEN] })]) {
      const { options, patches } = await serve(t, node);
      assert.equal(await taintExposed(CACHED, options), false);
      assert.deepEqual(patches, []);
    }
  });
});
