import type { FakeApi } from './fake-api.ts';
import { agentOf, brokenStatus, DOMAIN, nodeOf, statusOf } from './fleet-objects.ts';

const PODS = '/api/v1/namespaces/gvisor-ready/pods';
const CLASS = {
  metadata: { name: 'gvisor' },
  handler: 'runsc',
  scheduling: { nodeSelector: { [`${DOMAIN}/ready`]: 'true' } },
};
const policy = (name: string) => ({ metadata: { name }, spec: { failurePolicy: 'Fail' } });
const binding = (name: string, policyName: string) => ({
  metadata: { name },
  spec: { policyName, validationActions: ['Deny'] },
});
const POLICIES = [
  'gvisor-ready-agent',
  'gvisor-ready-agent-events',
  'gvisor-ready-node-keys',
  'gvisor-ready-enforce',
  'gvisor-ready-guard-namespace',
];
const EVAL = { metadata: { name: 'eval', labels: { 'require-gvisor': 'true' } } };
const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
/** The path of the DaemonSet of the agents. */
export const DAEMON_SET = '/apis/apps/v1/namespaces/gvisor-ready/daemonsets/gvisor-ready-agent';

/** A cluster of three nodes: two proven, one whose shim is gone; `eval` requires gVisor. */
export function fleet(api: FakeApi): void {
  api.behind.set('/version', { major: '1', minor: '36', gitVersion: 'v1.36.3' });
  api.list('/api/v1/nodes', [
    nodeOf('node-1'),
    nodeOf('node-2'),
    nodeOf('node-3', {
      ready: 'false',
      status: 'False',
      reason: 'ShimNotFound',
      message: 'no shim. What to do: install it',
    }),
  ]);
  for (const name of ['node-1', 'node-2', 'node-3']) {
    api.behind.set(`/api/v1/nodes/${name}`, () => nodeIn(api, name));
    api.behind.set(
      `${PODS}/agent-${name}:9477/proxy/report`,
      name === 'node-3' ? brokenStatus(name) : statusOf(name),
    );
  }
  api.list(
    PODS,
    ['node-1', 'node-2', 'node-3'].map((name) => agentOf(name)),
  );
  api.behind.set(DAEMON_SET, {
    spec: { template: { spec: { containers: [{ env: [] }] } } },
    status: { desiredNumberScheduled: 3, numberReady: 3, updatedNumberScheduled: 3 },
  });
  api.list('/apis/node.k8s.io/v1/runtimeclasses', [CLASS]);
  api.list('/api/v1/namespaces', [EVAL]);
  api.behind.set('/api/v1/namespaces/eval', EVAL);
  api.behind.set('/apis/node.k8s.io/v1/runtimeclasses/gvisor', CLASS);
  api.list('/api/v1/namespaces/eval/pods', []);
  api.list('/api/v1/namespaces/eval/events', []);
  api.list(`${ADMISSION}/validatingadmissionpolicies`, POLICIES.map(policy));
  api.list(
    `${ADMISSION}/validatingadmissionpolicybindings`,
    POLICIES.map((name) => binding(`${name}-pods`, name)),
  );
}

function nodeIn(api: FakeApi, name: string): object {
  const { items } = api.behind.get('/api/v1/nodes') as { items: readonly { metadata: { name: string } }[] };
  return items.find(({ metadata }) => metadata.name === name) ?? {};
}

/** Puts another report behind an agent. */
export function tell(api: FakeApi, node: string, report: object): void {
  api.behind.set(`${PODS}/agent-${node}:9477/proxy/report`, report);
}

/** Replaces one Node in the list. */
export function setNode(api: FakeApi, node: ReturnType<typeof nodeOf>): void {
  const { items } = api.behind.get('/api/v1/nodes') as { items: readonly { metadata: { name: string } }[] };
  api.list(
    '/api/v1/nodes',
    items.map((each) => (each.metadata.name === node.metadata.name ? node : each)),
  );
}
