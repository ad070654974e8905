import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { ensurePython } from '../../hack/python.ts';
import { runAll, waitFor } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import { DOMAIN } from '../e2e/agents.ts';
import {
  creations,
  type DispatcherCall,
  dispatch,
  FREE,
  grantDispatcher,
  PYTHON,
} from '../e2e/dispatcher-run.ts';
import { useApiServer } from './api-server.ts';
import { type ApiUser, certificateUser } from './api-user.ts';

const cluster = useApiServer([]);

const NODE = 'node-0';
const BOOT = '5b0c1d53-0e6b-4a1c-9d3c-1b3f8a6a1a11';
const JOBS = 60;
/** Starts many pods at once, and prints how many run in gVisor and how often `explain` gives each reason. */
const MANY = `import asyncio, collections, json, logging
from kubernetes import client, config
from gvisor_dispatch import AsyncDispatcher, Policy
logging.basicConfig(level=logging.WARNING)
config.load_kube_config()
spec = {"containers": [{"name": "c", "image": "i"}]}
pods = [{"metadata": {"name": f"job-{at}", "namespace": "${FREE}"}, "spec": spec} for at in range(${JOBS})]
async def main():
    async with AsyncDispatcher(client.ApiClient()) as dispatcher:
        found = await asyncio.gather(*(dispatcher.dispatch(pod, Policy.WAIT) for pod in pods))
        explained = await dispatcher.explain_selected("${FREE}", "gvisor-ready.dev/dispatch=gvisor")
        reasons = collections.Counter(one.reason for one in explained.values())
        print(json.dumps([sum(one.in_gvisor for one in found), reasons]))
asyncio.run(main())`;

/** Who may fall back, whose evidence counts beside a node that fails, and additional handlers, are in `test/dispatcher`. */
describe('the dispatcher, on a real API server', () => {
  let admin: ApiUser;
  before(async () => {
    admin = await certificateUser(cluster(), 'admin', ['system:masters']);
    await grantDispatcher(cluster());
    await cluster().kubectl(['create', 'serviceaccount', 'default', '-n', FREE]);
  });

  /** Replaces the Node. */
  async function replaceNode(): Promise<void> {
    await admin({ method: 'DELETE', path: '/api/v1/nodes' });
    const made = await admin({ method: 'POST', path: '/api/v1/nodes', body: provenNode() });
    assert.equal(made.message, '');
    // Admission taints every new Node: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#taintnodesbycondition
    const untaint = { spec: { taints: null } };
    assert.equal(
      (await admin({ method: 'PATCH', path: `/api/v1/nodes/${NODE}`, body: untaint })).message,
      '',
    );
  }

  async function consent(namespace: string, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}`;
    assert.equal((await admin({ method: 'PATCH', path, body: { metadata: { labels } } })).message, '');
  }

  /** The code and the reason of a call that starts a pod. */
  async function outcome(call: Partial<DispatcherCall>): Promise<string> {
    const options = ['--schedule-deadline', '1'];
    const { code, output, stderr } = await dispatch(cluster(), { name: 'refused', options, ...call });
    assert.ok(output.reason !== undefined, stderr);
    return `${code} ${output.reason}`;
  }

  it('reports a full quota as capacity, waits for room, and refuses what never fits', async () => {
    await replaceNode();
    const quotas = `/api/v1/namespaces/${FREE}/resourcequotas`;
    const hard = { pods: '1' };
    const made = { metadata: { name: 'q' }, spec: { hard } };
    assert.equal((await admin({ method: 'POST', path: quotas, body: made })).message, '');
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
    await replaceNode();
    const invalid = { containers: [{ name: 'UPPER CASE', image: 'i' }] };
    assert.equal(await outcome({ spec: invalid }), '65 PodRefused');
    await consent(FREE, { 'pod-security.kubernetes.io/enforce': 'restricted' });
    await waitFor('Pod Security to refuse', 30_000, async () => (await outcome({})) === '65 PodRefused');
    await consent(FREE, { 'pod-security.kubernetes.io/enforce': null });
    assert.equal(await outcome({ namespace: 'default' }), '3 ApiRefused');
  });

  it(`starts ${JOBS} pods at once and logs nothing`, async () => {
    await replaceNode();
    const env = { KUBECONFIG: cluster().kubeconfig, ...PYTHON };
    const ended = runAll(await ensurePython(), ['-c', MANY], { env, timeoutMs: 200_000 });
    const pods = `/api/v1/namespaces/${FREE}/pods`;
    const started = new Set<string>();
    // Stands in for the scheduler and the kubelet.
    await waitFor(`${JOBS} pods`, 120_000, async () => {
      const { body } = await admin({ method: 'GET', path: pods });
      const names = (body as { items: { metadata: { name: string } }[] }).items
        .map(({ metadata }) => metadata.name)
        .filter((name) => name.startsWith('job-') && !started.has(name));
      await pooledMap(names, 20, async (name) => {
        const target = { kind: 'Node', name: NODE };
        const binding = { metadata: { name }, target };
        await admin({ method: 'POST', path: `${pods}/${name}/binding`, body: binding });
        const status = { status: { phase: 'Running' } };
        await admin({ method: 'PATCH', path: `${pods}/${name}/status`, body: status });
        started.add(name);
      });
      return started.size === JOBS;
    });
    const { code, stdout, stderr } = await ended;
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual(JSON.parse(stdout), [JOBS, { InGVisor: JOBS }]);
  });
});

/** A Node that has been proven for a minute. */
function provenNode() {
  const at = new Date(Date.now() - 60_000).toISOString().replace(/\.\d+/, '');
  const condition = (type: string, status: string, reason: string) => ({
    ...{ type, status, reason, message: '', lastHeartbeatTime: at, lastTransitionTime: at },
  });
  return {
    metadata: {
      name: NODE,
      labels: { [`${DOMAIN}/ready`]: 'true' },
    },
    status: {
      conditions: [
        condition('Ready', 'True', 'KubeletReady'),
        condition('GVisorReady', 'True', 'SandboxProven'),
      ],
      nodeInfo: { bootID: BOOT },
      runtimeHandlers: ['runc', 'runsc'].map((name) => ({ name })),
    },
  };
}
