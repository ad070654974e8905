import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { pooledMap } from '../../agent/async.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { creations, type DispatcherCall, dispatch, FREE, grantDispatcher } from '../e2e/dispatcher-run.ts';
import { useApiServer } from './api-server.ts';
import { type ApiUser, certificateUser } from './api-user.ts';

const cluster = useApiServer([]);

/** Identical Nodes. Without a reason, no agent has written to them. */
type Nodes = {
  readonly count?: number;
  readonly reason?: string;
  /** The age of the condition. */
  readonly minutes?: number;
  readonly provenOnce?: boolean;
  /** Handlers in the Node's status. */
  readonly handlers?: readonly string[];
};

const BROKEN: Nodes = { reason: 'ShimNotFound', minutes: 1, provenOnce: true, handlers: ['runc', 'runsc'] };

describe('the policy "prefer" of the dispatcher, on a real API server', () => {
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

  /** Asserts that no pod may leave gVisor for this reason, and that a run creates none. */
  async function assertClosed(code: number, reason: string, message: RegExp): Promise<void> {
    const dryRun = await prefer({ command: 'ask' });
    assert.deepEqual([dryRun.code, dryRun.output.reason], [code, reason], dryRun.stderr);
    assert.match(String(dryRun.output.message), message);
    const ran = await prefer({ options: ['--schedule-deadline', '1'] });
    assert.deepEqual([ran.code, ran.output.reason, creations(ran)], [code, reason, []], ran.stderr);
  }

  /** Asserts that a pod would be created without gVisor. */
  async function assertOpen(message: RegExp): Promise<void> {
    const { code, output, stderr } = await prefer({ command: 'ask' });
    assert.deepEqual([code, output.in_gvisor, output.reason], [5, false, 'GVisorFails'], stderr);
    assert.match(String(output.message), message);
  }

  const prefer = (call: Partial<DispatcherCall>) =>
    dispatch(cluster(), { policy: 'prefer', name: 'evaluation', ...call });

  it('does not fall back while one node fails and 299 new nodes have no verdict', async () => {
    await replaceNodes(BROKEN, { count: 299 });
    await assertClosed(
      75,
      'GVisorUndecided',
      /^no node is proven, and node-1-\d+ has no final verdict: no condition/,
    );
  });

  it('does not fall back while a node is being installed, for half an hour', async () => {
    const installing = { ...BROKEN, provenOnce: false };
    await replaceNodes(BROKEN, { ...installing, minutes: 29 });
    await assertClosed(75, 'GVisorUndecided', /node-1-0 has no final verdict: ShimNotFound$/);
    await replaceNodes({ ...installing, minutes: 31 });
    await assertOpen(/ShimNotFound: node-0-0$/);
  });

  it("falls back only with the namespace's consent, which require-gvisor overrides", async () => {
    await replaceNodes(BROKEN);
    await assertOpen(/ShimNotFound: node-0-0$/);
    const acts = '^"prefer" acts as "require": namespace dispatcher-free';
    await consent(FREE, { 'require-gvisor': 'true' });
    await assertClosed(3, 'GVisorFails', new RegExp(`${acts} has the label require-gvisor: "true"; agents`));
    await consent(FREE, { 'require-gvisor': null, 'allow-host-kernel': null });
    await assertClosed(
      3,
      'GVisorFails',
      new RegExp(`${acts} does not have the label allow-host-kernel: "true"; `),
    );
    await consent(FREE, { 'allow-host-kernel': 'true' });
  });

  it('assumes no consent of a namespace that it cannot read', async () => {
    await replaceNodes(BROKEN);
    await consent('default', { 'allow-host-kernel': 'true' });
    const { code, output } = await prefer({ command: 'ask', namespace: 'default' });
    assert.deepEqual([code, output.reason], [3, 'GVisorFails']);
    assert.match(
      String(output.message),
      /acts as "require": cannot read namespace default: 403 namespaces "default" is/,
    );
  });
});

function nodeOf(name: string, { reason, minutes = 0, provenOnce, handlers = [] }: Nodes) {
  const at = new Date(Date.now() - minutes * 60_000).toISOString().replace(/\.\d+/, '');
  const condition = (type: string, status: string, reason: string) => ({
    type,
    status,
    reason,
    message: '',
    lastHeartbeatTime: at,
    lastTransitionTime: at,
  });
  const judged = reason === undefined ? [] : [condition('GVisorReady', 'False', reason)];
  return {
    metadata: {
      name,
      labels: reason === undefined ? {} : { [`${DOMAIN}/ready`]: 'false' },
      annotations: provenOnce ? { [`${DOMAIN}/proven-by`]: '' } : {},
    },
    status: {
      conditions: [condition('Ready', 'True', 'KubeletReady'), ...judged],
      runtimeHandlers: handlers.map((name) => ({ name })),
    },
  };
}
