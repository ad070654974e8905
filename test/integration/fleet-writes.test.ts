import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { settle } from '../e2e/admission-settle.ts';
import { applyOverlay } from '../e2e/agents.ts';
import { type ApiUser, certificateUser, tokenUser } from '../e2e/api-user.ts';
import { useApiServer } from './api-server.ts';
import { ADDED, FORGERIES, TAINT_FORGERIES } from './fleet-forgeries.ts';
import { conditionOf, FleetObjects, READY } from './fleet-objects.ts';

const cluster = useApiServer(['network-policy']);

describe('the token of the fleet controller, on a real API server', () => {
  let controller: ApiUser;
  before(async () => {
    const objects = await FleetObjects.open(cluster());
    for (const name of ['node-1', 'node-2', 'node-3']) await objects.addNode(name);
    const broken = { conditions: [conditionOf('GVisorReady', 'False', 'ShimNotFound')] };
    await objects.writeStatus('node-2', broken, { [READY]: 'false' });
    const none = { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] };
    await objects.writeStatus('node-3', none, { [READY]: null });
    controller = await tokenUser(cluster(), 'gvisor-ready', 'gvisor-ready-fleet');
  });

  for (const [what, call, why] of FORGERIES) {
    it(`is refused: ${what}`, async () => {
      const { code, message } = await controller(call);
      assert.ok(code >= 400, `answered ${code}`);
      assert.match(message, why);
    });
  }

  it('withdraws label and condition in one write, and nothing else changes', async () => {
    const path = '/api/v1/nodes/node-1';
    const was = (await controller({ method: 'GET', path })).body as Body;
    const lost = conditionOf('GVisorReady', 'Unknown', 'AgentLost');
    const body = {
      metadata: { labels: { [READY]: 'false' }, resourceVersion: was.metadata.resourceVersion },
      status: { conditions: [lost] },
    };
    const patch = 'strategic-merge-patch+json';
    const call = { method: 'PATCH', path: `${path}/status`, patch, body } as const;
    const answer = await controller(call);
    assert.equal(answer.message, '');
    const now = answer.body as Body;
    assert.deepEqual(now.metadata.labels, { ...was.metadata.labels, [READY]: 'false' });
    assert.deepEqual(
      now.status.conditions.map(({ type, status }) => `${type} ${status}`),
      ['Ready True', 'GVisorReady Unknown'],
    );
    assert.equal((await controller(call)).code, 409, 'the same again is of an older version');
  });

  for (const reason of ['AgentLost', 'NodeRebooted']) {
    it(`withdraws for the reason ${reason}, and creates its event`, async () => {
      const objects = await FleetObjects.open(cluster());
      const proven = conditionOf('GVisorReady', 'True', 'SandboxProven');
      await objects.writeStatus('node-1', { conditions: [proven] }, { [READY]: 'true' });
      const body = {
        metadata: { labels: { [READY]: 'false' } },
        status: { conditions: [conditionOf('GVisorReady', 'Unknown', reason)] },
      };
      const patch = 'strategic-merge-patch+json';
      const status = '/api/v1/nodes/node-1/status';
      assert.equal((await controller({ method: 'PATCH', path: status, patch, body })).message, '');
      const source = { component: 'gvisor-ready-fleet' };
      const event = { metadata: { generateName: 'a.' }, reason, message: 'm', type: 'Warning', source };
      const involvedObject = { apiVersion: 'v1', kind: 'Node', name: 'node-1' };
      const path = '/api/v1/namespaces/default/events';
      const answer = await controller({ method: 'POST', path, body: { ...event, involvedObject } });
      assert.equal(answer.message, '');
    });
  }

  it('runs in a pod that the level "restricted" of Pod Security lets in, of the agents\' image', async () => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'strict', labels } };
    await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(namespace));
    const read = async (kind: string, name: string) =>
      JSON.parse(
        await cluster().kubectl(['get', kind, name, '-n', 'gvisor-ready', '-o', 'json']),
      ) as Workload;
    const { template } = (await read('deployment', 'gvisor-ready-fleet')).spec;
    const agent = (await read('daemonset', 'gvisor-ready-agent')).spec.template;
    assert.equal(template.spec.containers[0]?.image, agent.spec.containers[0]?.image);
    const { serviceAccountName: _, serviceAccount: __, ...spec } = template.spec;
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'fleet', namespace: 'strict' }, spec };
    const account = {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace: 'strict' },
    };
    await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(account));
    const said = await cluster().kubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(pod));
    assert.match(said, /pod\/fleet created \(server dry run\)/);
    const privileged = { ...pod, spec: { ...spec, hostNetwork: true } };
    await assert.rejects(
      cluster().kubectl(['apply', '--dry-run=server', '-f', '-'], JSON.stringify(privileged)),
      /violates PodSecurity/,
    );
  });
});

describe('the token of the fleet controller with the component taint', () => {
  let controller: ApiUser;
  before(async () => {
    await applyOverlay(cluster(), ['taint', 'network-policy']);
    const admin = await certificateUser(cluster(), 'taint-admin', ['system:masters']);
    await settle({ as: (_, call) => admin(call) });
    // The API server gives each new Node this taint.
    await cluster().kubectl(['taint', 'nodes', '--all', 'node.kubernetes.io/not-ready:NoSchedule-']);
    const tainted = ['gvisor.node-restriction.kubernetes.io/not-ready:NoSchedule', 'other:NoSchedule'];
    await cluster().kubectl(['taint', 'nodes', 'node-2', ...tainted]);
    controller = await tokenUser(cluster(), 'gvisor-ready', 'gvisor-ready-fleet');
  });

  for (const [what, call] of TAINT_FORGERIES) {
    it(`is refused: ${what}`, async () => {
      const { code, message } = await controller(call);
      assert.equal(code, 422, message);
      assert.match(message, /leaves the spec of a Node alone/);
    });
  }

  it('is refused a label that grants, in a write of the whole Node as well', async () => {
    const body = { metadata: { labels: { [READY]: 'true' } } };
    const { message } = await controller({ method: 'PATCH', path: '/api/v1/nodes/node-2', body });
    assert.match(message, /only from "true" to "false"/);
  });

  it('adds the taint of agents', async () => {
    const { message, body } = await controller(ADDED);
    assert.equal(message, '');
    const { taints } = (body as { readonly spec: { readonly taints: readonly { key: string }[] } }).spec;
    assert.deepEqual(
      taints.map(({ key }) => key),
      ['gvisor.node-restriction.kubernetes.io/not-ready'],
    );
  });
});

type Body = {
  readonly metadata: { readonly labels: Readonly<Record<string, string>>; readonly resourceVersion: string };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
};
type Workload = {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly serviceAccountName: string;
        readonly serviceAccount: string;
        readonly containers: readonly { readonly image: string }[];
      };
    };
  };
};
