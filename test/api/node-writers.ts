import type { Cluster } from '../../cluster/cluster.ts';
import { NAMESPACE } from '../../lib/kube/access.ts';
import { DOMAIN } from '../e2e/agents.ts';
import { type Admission, callsAs } from './admission-cluster.ts';
import { USERS } from './admission-fixture.ts';
import { annotations } from './admission-objects.ts';
import { applyBase, startApiServer, useStarted } from './api-server.ts';
import { conditionOf, FleetObjects, KVM_KEY, READY_KEY } from './fleet-objects.ts';
import { WRITERS } from './writer-users.ts';

const role = (name: string, verbs: readonly string[], events: readonly string[] = []) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRole',
  metadata: { name },
  rules: [
    { apiGroups: [''], resources: ['nodes', 'nodes/status'], verbs },
    { apiGroups: [''], resources: ['events'], verbs: events },
  ].filter((rule) => rule.verbs.length > 0),
});
const bind = (name: string, ...subjects: readonly object[]) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: `test-${name}` },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
  subjects,
});
const user = (name: string) => ({ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name });
const account = (name: string, namespace = NAMESPACE) => ({ kind: 'ServiceAccount', name, namespace });
const EVERY_VERB = ['get', 'create', 'update', 'patch', 'delete'];
/** A service account, and a pod of it on node-1. */
function accountWithPod(name: string): readonly object[] {
  const spec = {
    nodeName: 'node-1',
    serviceAccountName: name,
    containers: [{ name: 'main', image: 'localhost/none' }],
  };
  const namespace = 'other';
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } },
    { apiVersion: 'v1', kind: 'Pod', metadata: { name: `${name}-node-1`, namespace }, spec },
  ];
}
const OBJECTS: readonly object[] = [
  role('node-admin', EVERY_VERB),
  role('renamed', [...EVERY_VERB, 'report-gvisor-readiness']),
  // The policies must also hold if an administrator adds rights to the role of agents.
  role('agent-too', EVERY_VERB, EVERY_VERB),
  role('fleet-too', ['create', 'patch', 'delete'], EVERY_VERB),
  role('cleaner', ['get', 'patch', 'manage-gvisor-readiness']),
  ...['other', 'gvisor-rea'].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
  ...['renamed', 'plain'].flatMap((name) => accountWithPod(name)),
  bind('node-admin', user('node-admin'), account('plain', 'other')),
  bind('system:node-problem-detector', user('detector')),
  bind('cleaner', user('uninstaller')),
  bind('renamed', account('renamed', 'other'), user('reporter')),
  bind('agent-too', account('gvisor-ready-agent')),
  bind('fleet-too', account('gvisor-ready-fleet')),
];

/**
 * Creates Nodes and their agents: node-1 is labelled "true" for both handlers and proven, node-2 is labelled "false" for
 * both and its condition is False, node-3 has neither, and was never proven. node-4 is labelled and says that gVisor is not
 * expected; its condition is Unknown and has a long message. node-2 and node-3 have the agents' taint, node-4 has no taint and is cordoned. node-5 has
 * more than a thousand labels, node-6 as many annotations, and node-8 as many of both as an agent may write. Returns the clients that write them.
 */
export async function prepareWriters(cluster: Cluster): Promise<Admission> {
  const objects = await FleetObjects.open(cluster);
  for (const at of [1, 2, 3, 4, 5, 6, 8]) await objects.addNode(`node-${at}`);
  const broken = { conditions: [conditionOf('GVisorReady', 'False', 'ShimNotFound')] };
  await objects.writeStatus('node-1', {}, { [KVM_KEY]: 'true' });
  await objects.writeStatus('node-2', broken, { [READY_KEY]: 'false', [KVM_KEY]: 'false' });
  const long = { ...conditionOf('GVisorReady', 'Unknown', 'NotVisible'), message: 'm'.repeat(1_025) };
  await objects.writeStatus('node-4', { conditions: [long] });
  const none = { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] };
  await objects.writeStatus('node-3', none, { [READY_KEY]: null });
  const own = {
    annotations: {
      team: 'a',
      long: 'a'.repeat(129),
      [`${DOMAIN}/agent`]: 'old',
      [`${DOMAIN}/proven-boot-runsc-kvm`]: 'boot-1',
      [`a.${DOMAIN}/x`]: 'a',
      [`a.${DOMAIN}/proven-boot-x`]: 'a',
    },
    labels: {
      [`${DOMAIN}/expected`]: 'true',
      [`a.${DOMAIN}/x`]: 'a',
      [`a.${DOMAIN}/ready-x`]: 'true',
      [`${DOMAIN}/readyx`]: 'true',
    },
    finalizers: ['example.org/test'],
  };
  const neverProven = { [`${DOMAIN}/proven-by`]: null, [`${DOMAIN}/proven-boot`]: 'boot-1' };
  const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: 'node-2', uid: 'test' }];
  const notReady = { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
  const other = { key: 'other', effect: 'NoSchedule' };
  const spec = { taints: [{ ...notReady, effect: 'NoExecute' }, other, notReady], unschedulable: true };
  for (const [node, body] of Object.entries({
    'node-1': { metadata: { ...own, ownerReferences }, spec },
    'node-2': {
      metadata: { labels: { [`${DOMAIN}/ready-other`]: 'maybe' } },
      spec: { taints: [notReady, other] },
    },
    'node-3': { metadata: { annotations: neverProven }, spec: { taints: [notReady] } },
    'node-4': {
      metadata: { labels: { [`${DOMAIN}/expected`]: 'false' } },
      spec: { taints: [], unschedulable: true },
    },
    'node-5': { metadata: { labels: annotations(1_000) } },
    'node-6': { metadata: { annotations: annotations(1_000) } },
    'node-8': { metadata: { labels: annotations(4_998), annotations: annotations(4_999) } },
  }))
    await cluster.kubectl(['patch', 'node', node, '--type=merge', '-p', JSON.stringify(body)]);
  const items = { apiVersion: 'v1', kind: 'List', items: OBJECTS };
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(items));
  return { cluster, as: callsAs(cluster, { ...WRITERS, admin: USERS.admin }) };
}

/** Starts an API server with the base and components, and calls {@link prepareWriters}. */
export async function startWriters(components: readonly string[]): Promise<Admission> {
  const cluster = await startApiServer();
  await applyBase(cluster, components);
  return prepareWriters(cluster);
}

/** {@link startWriters} for the tests of a file. */
export const useWriters = (components: readonly string[]): (() => Admission) =>
  useStarted('api', () => startWriters(components));
