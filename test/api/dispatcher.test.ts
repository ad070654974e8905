import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { waitFor } from '../../hack/run.ts';
import { creations, type DispatcherCall, dispatch, FREE, grantDispatcher } from '../e2e/dispatcher-run.ts';
import { useApiServer } from './api-server.ts';
import { type ApiCall, type ApiUser, certificateUser } from './api-user.ts';
import { PROVEN_CONDITIONS, READY_KEY } from './fleet-objects.ts';

const cluster = useApiServer([]);

const NODE = 'node-0';
const BOOT = '5b0c1d53-0e6b-4a1c-9d3c-1b3f8a6a1a11';

/** Who may fall back, whose evidence counts beside a node that fails, and additional handlers, are in `test/dispatcher`. */
describe('the dispatcher, on a real API server', () => {
  let admin: ApiUser;
  before(async () => {
    admin = await certificateUser(cluster(), 'admin', ['system:masters']);
    await grantDispatcher(cluster());
    await cluster().kubectl(['create', 'serviceaccount', 'default', '-n', FREE]);
    await send({ method: 'POST', path: '/api/v1/nodes', body: provenNode() });
    // Admission taints every new Node: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#taintnodesbycondition
    await send({ method: 'PATCH', path: `/api/v1/nodes/${NODE}`, body: { spec: { taints: null } } });
  });
  const send = async (call: ApiCall) => assert.equal((await admin(call)).message, '');
  const enforce = (standard: string | null) => {
    const labels = { 'pod-security.kubernetes.io/enforce': standard };
    return send({ method: 'PATCH', path: `/api/v1/namespaces/${FREE}`, body: { metadata: { labels } } });
  };

  /** The code and the reason of a call that starts a pod. */
  async function outcome(call: Partial<DispatcherCall>): Promise<string> {
    const options = ['--schedule-deadline', '1'];
    const { code, output, stderr } = await dispatch(cluster(), { name: 'refused', options, ...call });
    assert.ok(output.reason !== undefined, stderr);
    return `${code} ${output.reason}`;
  }

  it('reports a full quota as capacity, waits for room, and refuses what never fits', async () => {
    const quotas = `/api/v1/namespaces/${FREE}/resourcequotas`;
    const quota = { metadata: { name: 'q' }, spec: { hard: { pods: '1' } } };
    await send({ method: 'POST', path: quotas, body: quota });
    // No controller counts here.
    const count = (limit: string, used: string) =>
      admin({
        method: 'PATCH',
        path: `${quotas}/q/status`,
        body: { status: { hard: { pods: limit }, used: { pods: used } } },
      });
    const until = (expected: string) =>
      waitFor(expected, 30_000, async () => (await outcome({})) === expected);
    try {
      await count('1', '1');
      await until('75 QuotaExceeded');
      const room = setTimeout(() => void count('1', '0'), 4_000);
      const options = ['--wait-deadline', '20', '--schedule-deadline', '1'];
      const waited = await dispatch(cluster(), { policy: 'wait', name: 'waited', options });
      clearTimeout(room);
      assert.deepEqual([waited.output.reason, creations(waited).length], ['Unschedulable', 1], waited.stderr);
      await count('0', '0');
      await until('65 PodRefused');
    } finally {
      await admin({ method: 'DELETE', path: `${quotas}/q` });
    }
  });

  it('distinguishes a pod that admission refuses from missing permissions', async () => {
    const invalid = { containers: [{ name: 'UPPER CASE', image: 'i' }] };
    assert.equal(await outcome({ spec: invalid }), '65 PodRefused');
    await enforce('restricted');
    await waitFor('Pod Security to refuse', 30_000, async () => (await outcome({})) === '65 PodRefused');
    await enforce(null);
    assert.equal(await outcome({ namespace: 'default' }), '3 ApiRefused');
  });

  it('removes the pod that admission moves to the kernel of the host', async () => {
    const registration = '/apis/admissionregistration.k8s.io/v1';
    const name = 'moves-pods';
    const remove = (field: string) => `JSONPatch{op: "remove", path: "/spec/${field}"}`;
    const spec = {
      failurePolicy: 'Fail',
      reinvocationPolicy: 'Never',
      matchConstraints: {
        resourceRules: [
          { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] },
        ],
      },
      matchConditions: [{ name: 'has-a-class', expression: 'has(object.spec.runtimeClassName)' }],
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: {
            expression: `has(object.spec.overhead) ? [${remove('overhead')}, ${remove('runtimeClassName')}] : [${remove('runtimeClassName')}]`,
          },
        },
      ],
    };
    const bodies = [
      ['mutatingadmissionpolicies', { metadata: { name }, spec }],
      ['mutatingadmissionpolicybindings', { metadata: { name }, spec: { policyName: name } }],
    ] as const;
    for (const [kind, body] of bodies) await send({ method: 'POST', path: `${registration}/${kind}`, body });
    try {
      await waitFor('admission to move a pod', 30_000, async () => (await outcome({})) === '3 RunsOutside');
      const path = `/api/v1/namespaces/${FREE}/pods/refused`;
      assert.equal((await admin({ method: 'GET', path })).code, 404);
    } finally {
      for (const [kind] of bodies) await admin({ method: 'DELETE', path: `${registration}/${kind}/${name}` });
    }
  });
});

/** A Node that has been proven for a minute. */
function provenNode() {
  const at = new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, '');
  return {
    metadata: { name: NODE, labels: { [READY_KEY]: 'true' } },
    status: {
      conditions: PROVEN_CONDITIONS.map((each) => ({
        ...each,
        lastHeartbeatTime: at,
        lastTransitionTime: at,
      })),
      nodeInfo: { bootID: BOOT },
      runtimeHandlers: ['runc', 'runsc'].map((name) => ({ name })),
    },
  };
}
