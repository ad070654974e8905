import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { ensurePython } from '../../hack/python.ts';
import { runAll, waitFor } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import { REASONS, type Reason } from '../../lib/node/reasons.ts';
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

/** Identical Nodes. Without a reason, no agent has written to them. */
type Nodes = {
  readonly count?: number;
  readonly reason?: Reason;
  /** The age of the condition. */
  readonly minutes?: number;
  readonly provenOnce?: boolean;
  /** The boot of a failure, if it is another. */
  readonly boot?: string;
  /** Handlers in the Node's status. */
  readonly handlers?: readonly string[];
  /** Whether the additional handler is proven; it was in this boot. Without it, no agent has judged it. */
  readonly kvm?: boolean;
};

const PROVEN: Nodes = { reason: 'SandboxProven' };
const BROKEN: Nodes = { reason: 'ShimNotFound', minutes: 1, provenOnce: true, handlers: ['runc', 'runsc'] };

const BOOT = '5b0c1d53-0e6b-4a1c-9d3c-1b3f8a6a1a11';
const KVM = ['--runtime-class', 'gvisor-kvm'];

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

describe('the dispatcher, on a real API server', () => {
  let admin: ApiUser;
  before(async () => {
    admin = await certificateUser(cluster(), 'admin', ['system:masters']);
    await grantDispatcher(cluster());
    await cluster().kubectl(['create', 'serviceaccount', 'default', '-n', FREE]);
  });

  /** Replaces all Nodes. */
  async function replaceNodes(...kinds: readonly Nodes[]): Promise<void> {
    await admin({ method: 'DELETE', path: '/api/v1/nodes' });
    const nodes = kinds.flatMap((kind, k) =>
      Array.from({ length: kind.count ?? 1 }, (_, at) => nodeOf(`node-${k}-${at}`, kind)),
    );
    await pooledMap(nodes, 20, async (body) => {
      const made = await admin({ method: 'POST', path: '/api/v1/nodes', body });
      assert.equal(made.message, '');
      // Admission taints every new Node: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#taintnodesbycondition
      const untaint = { spec: { taints: null } };
      const path = `/api/v1/nodes/${body.metadata.name}`;
      assert.equal((await admin({ method: 'PATCH', path, body: untaint })).message, '');
    });
  }

  async function consent(namespace: string, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}`;
    assert.equal((await admin({ method: 'PATCH', path, body: { metadata: { labels } } })).message, '');
  }

  /** Asserts that no pod leaves gVisor, for this reason: a run creates none. */
  async function assertClosed(
    code: number,
    reason: string,
    message: RegExp,
    options: readonly string[] = [],
  ): Promise<void> {
    const ran = await prefer({ options: ['--schedule-deadline', '1', ...options] });
    assert.deepEqual([ran.code, ran.output.reason, creations(ran)], [code, reason, []], ran.stderr);
    assert.match(String(ran.output.message), message);
  }

  /** Asserts that a pod would be created without gVisor. */
  async function assertOpen(message: RegExp, options: readonly string[] = []): Promise<void> {
    const { code, output, stderr } = await prefer({ command: 'ask', options });
    assert.deepEqual([code, output.in_gvisor, output.reason], [5, false, 'GVisorFails'], stderr);
    assert.match(String(output.message), message);
  }

  const prefer = (call: Partial<DispatcherCall>) =>
    dispatch(cluster(), { policy: 'prefer', name: 'evaluation', ...call });

  /** The code and the reason of a call that starts a pod. */
  async function outcome(call: Partial<DispatcherCall>): Promise<string> {
    const options = ['--schedule-deadline', '1'];
    const { code, output, stderr } = await dispatch(cluster(), { name: 'refused', options, ...call });
    assert.ok(output.reason !== undefined, stderr);
    return `${code} ${output.reason}`;
  }

  it('reports a full quota as capacity, waits for room, and refuses what never fits', async () => {
    await replaceNodes(PROVEN);
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
    await replaceNodes(PROVEN);
    const invalid = { containers: [{ name: 'UPPER CASE', image: 'i' }] };
    assert.equal(await outcome({ spec: invalid }), '65 PodRefused');
    await consent(FREE, { 'pod-security.kubernetes.io/enforce': 'restricted' });
    await waitFor('Pod Security to refuse', 30_000, async () => (await outcome({})) === '65 PodRefused');
    await consent(FREE, { 'pod-security.kubernetes.io/enforce': null });
    assert.equal(await outcome({ namespace: 'default' }), '3 ApiRefused');
  });

  it(`starts ${JOBS} pods at once and logs nothing`, async () => {
    await replaceNodes(PROVEN);
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
        const target = { kind: 'Node', name: 'node-0-0' };
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

  it('does not fall back while one node fails and 299 new nodes have no verdict', async () => {
    await replaceNodes(BROKEN, { count: 299 });
    await assertClosed(
      75,
      'GVisorUndecided',
      /^no node is proven, and node-1-\d+ has no final verdict: no condition/,
    );
  });

  it('does not fall back while a node is being installed, for half an hour', async () => {
    // Its own clock says that it has failed for longer than the Node exists.
    const installing = { ...BROKEN, provenOnce: false, minutes: 60 };
    await replaceNodes(BROKEN, installing);
    await assertClosed(
      75,
      'GVisorUndecided',
      /node-1-0 has no final verdict: ShimNotFound, for less than 1800 s/,
    );
    const options = ['--install-grace', '1'];
    await waitFor('the Node to be a second old', 30_000, async () => {
      const { code } = await prefer({ command: 'ask', options });
      return code === 5;
    });
    await assertOpen(/ShimNotFound: node-0-0, node-1-0$/, options);
  });

  it('does not fall back while another node is away, or failed in another boot', async () => {
    const away = { spec: { unschedulable: true } };
    await replaceNodes(BROKEN, { reason: 'NodeRebooted', provenOnce: true });
    await admin({ method: 'PATCH', path: '/api/v1/nodes/node-1-0', body: away });
    await assertClosed(75, 'GVisorUndecided', /node-1-0 has no final verdict: NodeRebooted$/);
    await replaceNodes(BROKEN, { ...BROKEN, boot: 'before' });
    await assertClosed(
      75,
      'GVisorUndecided',
      /node-1-0 .* ShimNotFound, which is not known to be of this boot$/,
    );
  });

  it("falls back only with the namespace's consent, which gvisor-ready.dev/require overrides", async () => {
    await replaceNodes(BROKEN);
    await assertOpen(/ShimNotFound: node-0-0$/);
    const acts = '^"prefer" acts as "require": namespace dispatcher-free';
    await consent(FREE, { 'gvisor-ready.dev/require': 'true' });
    await assertClosed(
      3,
      'GVisorFails',
      new RegExp(`${acts} has the label gvisor-ready.dev/require: "true"; agents`),
    );
    await consent(FREE, { 'gvisor-ready.dev/require': null, 'gvisor-ready.dev/allow-host-kernel': null });
    await assertClosed(
      3,
      'GVisorFails',
      new RegExp(`${acts} does not have the label gvisor-ready.dev/allow-host-kernel: "true"; `),
    );
    await consent(FREE, { 'gvisor-ready.dev/allow-host-kernel': 'true' });
  });

  describe('with an additional handler', () => {
    const label = `${DOMAIN}/ready-runsc-kvm`;
    const addClass = async (name: string, nodeSelector: Readonly<Record<string, string>>) => {
      const body = { metadata: { name }, handler: 'runsc-kvm', scheduling: { nodeSelector } };
      const made = await admin({ method: 'POST', path: '/apis/node.k8s.io/v1/runtimeclasses', body });
      assert.equal(made.message, '');
    };

    before(() => addClass('gvisor-kvm', { [label]: 'true' }));

    it('starts pods of its class where it is proven, also where the main handler fails', async () => {
      await replaceNodes({ ...BROKEN, kvm: true });
      await assertOpen(/ShimNotFound: node-0-0$/);
      const kvm = await prefer({ command: 'ask', options: KVM });
      assert.deepEqual([kvm.code, kvm.output.nodes], [0, ['node-0-0']], kvm.stderr);
      // No scheduler runs here.
      const ran = await prefer({ options: [...KVM, '--schedule-deadline', '1'] });
      assert.deepEqual([ran.output.reason, creations(ran).length], ['Unschedulable', 1], ran.stderr);
    });

    it('starts pods of the main class, and none of its own, where only the main handler is proven', async () => {
      await replaceNodes({ ...PROVEN, kvm: false });
      const main = await prefer({ command: 'ask' });
      assert.deepEqual([main.code, main.output.nodes], [0, ['node-0-0']], main.stderr);
      const message = new RegExp(
        `node-0-0 has no final verdict: label ${label} is "false", which names no cause$`,
      );
      await assertClosed(75, 'GVisorUndecided', message, KVM);
    });
  });

  it('assumes no consent of a namespace that it cannot read', async () => {
    await replaceNodes(BROKEN);
    await consent('default', { 'gvisor-ready.dev/allow-host-kernel': 'true' });
    const { code, output } = await prefer({ command: 'ask', namespace: 'default' });
    assert.deepEqual([code, output.reason], [3, 'GVisorFails']);
    assert.match(
      String(output.message),
      /acts as "require": cannot read namespace default: 403 namespaces "default" is/,
    );
  });
});

function nodeOf(name: string, { reason, minutes = 0, provenOnce, boot = BOOT, handlers = [], kvm }: Nodes) {
  const proven = reason === 'SandboxProven';
  const at = new Date(Date.now() - minutes * 60_000).toISOString().replace(/\.\d+/, '');
  const condition = (type: string, status: string, reason: string) => ({
    type,
    status,
    reason,
    message: '',
    lastHeartbeatTime: at,
    lastTransitionTime: at,
  });
  const judged = reason === undefined ? [] : [condition('GVisorReady', REASONS[reason].status, reason)];
  return {
    metadata: {
      name,
      labels: {
        ...(reason === undefined ? {} : { [`${DOMAIN}/ready`]: String(proven) }),
        ...(kvm === undefined ? {} : { [`${DOMAIN}/ready-runsc-kvm`]: String(kvm) }),
      },
      annotations: {
        ...(reason !== undefined && !proven ? { [`${DOMAIN}/failed-boot`]: boot } : {}),
        ...(provenOnce ? { [`${DOMAIN}/proven-by`]: '' } : {}),
        ...(kvm === undefined ? {} : { [`${DOMAIN}/proven-boot-runsc-kvm`]: BOOT }),
      },
    },
    status: {
      conditions: [condition('Ready', 'True', 'KubeletReady'), ...judged],
      nodeInfo: { bootID: BOOT },
      runtimeHandlers: handlers.map((name) => ({ name })),
    },
  };
}
