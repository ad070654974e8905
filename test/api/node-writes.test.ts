import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { V1Node, V1PodSpec } from '@kubernetes/client-node';
import { describeGroups } from './admission-case.ts';
import { applyBase } from './api-server.ts';
import type { ApiUser } from './api-user.ts';
import { FLEET_GROUPS, FLEET_TAINT_GROUPS } from './fleet-forgeries.ts';
import { conditionOf, READY_KEY } from './fleet-objects.ts';
import { fieldNow, forgeries } from './forged-fields.ts';
import { NODE_GROUPS, TAINT_GROUPS } from './node-write-cases.ts';
import { useWriters } from './node-writers.ts';

const writers = useWriters([]);
const cluster = () => writers().cluster;
const controller: ApiUser = (call) => writers().as('fleet', call);

describeGroups(writers, [...NODE_GROUPS, ...FLEET_GROUPS]);

describe("an agent's token", () => {
  it("cannot write any other field in the API server's schema of a Node", async () => {
    const { cluster, as } = writers();
    const tried = await forgeries(cluster);
    assert.ok(tried.length > 30, `only ${tried.length} fields`);
    let refused = 0;
    for (const forgery of tried) {
      const was = await fieldNow(cluster, forgery);
      const { code, message } = await as('agent', forgery.call);
      // The API server ignores some fields, such as the generation: it accepts the patch and changes nothing.
      if (code < 300) assert.deepEqual(await fieldNow(cluster, forgery), was, JSON.stringify(forgery));
      else if (/ValidatingAdmissionPolicy/.test(message)) refused++;
      else assert.match(`${code}`, /^4(00|22)$/, 'neither by the policy nor for its form');
    }
    assert.ok(refused > 20, `the policy refused only ${refused} fields`);
  });
});

describe('the token of the fleet controller, on a real API server', () => {
  it('withdraws label and condition in one write that changes nothing else', async () => {
    const path = '/api/v1/nodes/node-1';
    const was = (await controller({ method: 'GET', path })).body as V1Node;
    const body = {
      metadata: { labels: { [READY_KEY]: 'false' }, resourceVersion: was.metadata?.resourceVersion },
      status: { conditions: [conditionOf('GVisorReady', 'Unknown', 'AgentLost')] },
    };
    const patch = 'strategic-merge-patch+json';
    const call = { method: 'PATCH', path: `${path}/status`, patch, body } as const;
    const response = await controller(call);
    assert.equal(response.message, '');
    const now = response.body as V1Node;
    assert.deepEqual(now.metadata?.labels, { ...was.metadata?.labels, [READY_KEY]: 'false' });
    assert.deepEqual(
      now.status?.conditions?.map(({ type, status }) => `${type} ${status}`),
      ['Ready True', 'GVisorReady Unknown'],
    );
    assert.equal((await controller(call)).code, 409, 'the same again is of an older version');
  });

  it('is used by a pod of the agents\' image that Pod Security "restricted" accepts', async () => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'strict', labels } };
    await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(namespace));
    await cluster().kubectl(['create', 'serviceaccount', 'default', '-n', 'strict']);
    const specOf = async (workload: string) => {
      const text = await cluster().kubectl(['get', workload, '-n', 'gvisor-ready', '-o', 'json']);
      const { spec } = JSON.parse(text) as {
        readonly spec: { readonly template: { readonly spec: V1PodSpec } };
      };
      return spec.template.spec;
    };
    const {
      serviceAccountName: _,
      serviceAccount: __,
      ...spec
    } = await specOf('deployment/gvisor-ready-fleet');
    const agent = await specOf('daemonset/gvisor-ready-agent');
    assert.equal(spec.containers[0]?.image, agent.containers[0]?.image);
    const create = (changes: object) => {
      const metadata = { name: 'fleet', namespace: 'strict' };
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { ...spec, ...changes } };
      return cluster().kubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod));
    };
    assert.match(await create({}), /pod\/fleet created \(server dry run\)/);
    await assert.rejects(create({ hostNetwork: true }), /violates PodSecurity/);
  });
});

describe('with the component taint', () => {
  before(() => applyBase(cluster(), ['taint']));
  describeGroups(writers, [...TAINT_GROUPS, ...FLEET_TAINT_GROUPS]);
});
