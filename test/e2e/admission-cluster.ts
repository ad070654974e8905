import { after, before } from 'node:test';
import type { Cluster } from '../../hack/cluster/cluster.ts';
import { removeCluster } from '../../hack/cluster/remove-cluster.ts';
import { startCluster } from '../../hack/cluster/start-cluster.ts';
import { waitFor } from '../../hack/run.ts';
import { laneCluster } from '../lane.ts';
import { applyOverlay } from './agents.ts';
import { type Answer, type ApiUser, type Call, certificateUser, tokenUser } from './api-user.ts';

/** The namespaces of the tests, older than the policies, and the value of their label `require-gvisor`. */
const NAMESPACES = {
  strict: 'true',
  another: 'true',
  audited: 'audit',
  declined: 'false',
  mistyped: 'yes',
  free: undefined,
} as const;

/** Those who write, by what they may do. */
const USERS = {
  /** system:masters */
  admin: (cluster: Cluster) => certificateUser(cluster, 'root', ['system:masters']),
  /** everything inside the namespace `strict`, its Namespace object included: a Role with only stars */
  owner: (cluster: Cluster) => certificateUser(cluster, 'owner'),
  /** namespaces, runtime classes and ConfigMaps of the whole cluster, without the right to lift */
  operator: (cluster: Cluster) => certificateUser(cluster, 'operator'),
  /** the same, and the right to lift */
  lifter: (cluster: Cluster) => certificateUser(cluster, 'lifter'),
  /** the same as the operator, and the right to lift for the namespace `strict` alone */
  single: (cluster: Cluster) => certificateUser(cluster, 'single'),
  /** a program with the ClusterRole `edit` in the namespace `strict` */
  dispatcher: (cluster: Cluster) => tokenUser(cluster, 'strict', 'dispatcher'),
  kubelet: (cluster: Cluster) => certificateUser(cluster, 'system:node:node-9', ['system:nodes']),
} as const;
export type UserName = keyof typeof USERS;

const bind = (kind: 'RoleBinding' | 'ClusterRoleBinding', role: string, users: readonly string[]) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
  metadata: {
    name: `${role}-${users.join('-')}`,
    ...(kind === 'RoleBinding' ? { namespace: 'strict' } : {}),
  },
  roleRef: {
    apiGroup: 'rbac.authorization.k8s.io',
    kind: role === 'everything' ? 'Role' : 'ClusterRole',
    name: role,
  },
  subjects: users.map((name) =>
    name === 'dispatcher'
      ? { kind: 'ServiceAccount', name, namespace: 'strict' }
      : { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name },
  ),
});
const role = (kind: 'Role' | 'ClusterRole', name: string, rules: readonly object[]) => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
  metadata: { name, ...(kind === 'Role' ? { namespace: 'strict' } : {}) },
  rules,
});
const writes = ['get', 'list', 'create', 'update', 'patch', 'delete'];

/** Namespaces, a node, roles and their bindings. */
const OBJECTS: readonly object[] = [
  ...Object.entries(NAMESPACES).map(([name, value]) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: value === undefined ? {} : { 'require-gvisor': value } },
  })),
  { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-9' } },
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'dispatcher', namespace: 'strict' } },
  role('Role', 'everything', [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }]),
  role('ClusterRole', 'operator', [
    {
      apiGroups: [''],
      resources: ['namespaces', 'namespaces/status', 'namespaces/finalize', 'configmaps'],
      verbs: writes,
    },
    { apiGroups: ['node.k8s.io'], resources: ['runtimeclasses'], verbs: writes },
  ]),
  role('ClusterRole', 'lift-strict', [
    {
      apiGroups: [''],
      resources: ['namespaces'],
      resourceNames: ['strict'],
      verbs: ['manage-gvisor-requirement'],
    },
  ]),
  bind('RoleBinding', 'everything', ['owner']),
  bind('RoleBinding', 'edit', ['dispatcher']),
  bind('ClusterRoleBinding', 'operator', ['operator', 'lifter', 'single']),
  bind('ClusterRoleBinding', 'gvisor-ready-requirement', ['lifter']),
  bind('ClusterRoleBinding', 'lift-strict', ['single']),
];

/** A cluster with the policies in force, and the users. */
export type Admission = {
  readonly cluster: Cluster;
  as(user: UserName, call: Call): Promise<Answer>;
};

/**
 * For the head of a test file: a control plane without nodes, which has admission whole, with the base, the
 * components, the namespaces and the users. `prepare` ends once the policies are in force, and then the first
 * test begins.
 */
export function useAdmission(
  components: readonly string[],
  prepare: (admission: Admission) => Promise<unknown>,
): () => Admission {
  let admission: Admission | undefined;
  before(
    async () => {
      const cluster = await startCluster({ name: await laneCluster('admission'), nodes: [], images: [] });
      await cluster.kubectl(
        ['apply', '-f', '-'],
        JSON.stringify({ apiVersion: 'v1', kind: 'List', items: OBJECTS }),
      );
      await applyOverlay(cluster, components);
      const users = new Map<UserName, Promise<ApiUser>>();
      const as = async (name: UserName, call: Call) => {
        const user = users.get(name) ?? USERS[name](cluster);
        users.set(name, user);
        return (await user)(call);
      };
      admission = { cluster, as };
      await prepare(admission);
    },
    { timeout: 300_000 },
  );
  after(async () => removeCluster(await laneCluster('admission')));
  return () => {
    if (admission === undefined) throw new Error('The cluster is not up yet');
    return admission;
  };
}

/** Sends a call again and again until its answer is as wanted: policies and parameters take effect within moments. */
export async function until(
  what: string,
  call: () => Promise<Answer>,
  wanted: (answer: Answer) => boolean,
): Promise<Answer> {
  let last = '';
  return waitFor(`${what}`, 30_000, async () => {
    const answer = await call();
    last = `${answer.code} ${answer.message} ${answer.warnings.join(' ')}`;
    if (wanted(answer)) return answer;
    throw new Error(last);
  });
}
