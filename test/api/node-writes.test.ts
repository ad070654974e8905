import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { V1DaemonSet, V1Deployment, V1Node } from '@kubernetes/client-node';
import { describeGroups } from './admission-case.ts';
import { strategicPatch } from './admission-objects.ts';
import { applyBase, createRestrictedNamespace } from './api-server.ts';
import type { ApiUser } from './api-user.ts';
import { CASES } from './case-groups.ts';
import { conditionOf, READY_KEY } from './fleet-objects.ts';
import { fieldNow, forgeries } from './forged-fields.ts';
import { useWriters } from './node-writers.ts';

const writers = useWriters([]);
const cluster = () => writers().cluster;
const controller: ApiUser = (call) => writers().as('fleet', call);

describeGroups(writers, CASES.base);

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
    const lost = conditionOf('GVisorReady', 'Unknown', 'AgentLost');
    const body = {
      metadata: { labels: { [READY_KEY]: 'false' }, resourceVersion: was.metadata?.resourceVersion },
      status: { conditions: [lost] },
    };
    const call = strategicPatch(`${path}/status`, body);
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
    const create = await createRestrictedNamespace(cluster());
    const read = async (kind: string, name: string) => {
      const text = await cluster().kubectl(['get', kind, name, '-n', 'gvisor-ready', '-o', 'json']);
      return (JSON.parse(text) as V1Deployment | V1DaemonSet).spec?.template.spec ?? assert.fail();
    };
    const {
      serviceAccountName: _,
      serviceAccount: __,
      ...spec
    } = await read('deployment', 'gvisor-ready-fleet');
    const agent = await read('daemonset', 'gvisor-ready-agent');
    assert.equal(spec.containers[0]?.image, agent.containers[0]?.image);
    assert.match(await create(spec), /pod\/x serverside-applied \(server dry run\)/);
    await assert.rejects(create({ ...spec, hostNetwork: true }), /violates PodSecurity/);
  });
});

describe('with the component taint', () => {
  before(() => applyBase(cluster(), ['taint']));
  describeGroups(writers, CASES.taint);
});
